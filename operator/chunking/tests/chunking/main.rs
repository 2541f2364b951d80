//! The chunkers through their public door: texts and settings in, offsets out.

mod any;
mod properties;
mod separators;
mod settings;
mod texts;
mod worked_cases;
