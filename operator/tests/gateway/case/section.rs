//! A section of the specification of the `_inference` API, with the row of its table of improvements where
//! there is one: `2.5`, `1.2 B11`.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Section;

const SECTIONS: [&str; 18] = [
    "1.2", "1.3", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "2.10", "2.11", "3.1",
    "3.2", "3.7", "4.1", "4.2",
];

impl TryFrom<String> for Section {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (section, row) =
            text.split_once(' ').map_or((text.as_str(), None), |(section, row)| (section, Some(row)));
        let row_exists = row.is_none_or(|row| {
            section == "1.2"
                && row.strip_prefix('B').and_then(|row| row.parse().ok()).is_some_and(|row: u8| row <= 22)
        });
        if SECTIONS.contains(&section) && row_exists {
            Ok(Self)
        } else {
            Err(format!("the specification has no section {text:?}"))
        }
    }
}
