//! Tests of the installed chart that leave the shared release as it is and look at nothing but what they made: they run side by side,
//! as they wait for pods most of the time.

mod access;
mod admission;
mod edits;
mod failures;
mod manifests;
mod page;
mod sources;
