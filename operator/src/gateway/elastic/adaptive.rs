//! `adaptive_allocations`: as a create reads them, and as an update changes them field by field.

use lexiscale_crds::AdaptiveAllocations;

use super::error::{Items, Refusal};
use super::json::Object;
use super::settings_reader::{Read, SettingsReader};

const SCOPE: &str = "adaptive_allocations";

/// Elasticsearch's internal mark for "unset". Clients that read an endpoint and write it again send it.
const UNSET: i32 = -1;

/// What a request says about adaptive allocations; what it leaves out stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct AdaptiveChange {
    enabled: Option<bool>,
    min: Bound,
    max: Bound,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Bound {
    #[default]
    Kept,
    Unset,
    Set(i32),
}

impl Bound {
    fn of(read: Read<i32>) -> Self {
        match read {
            Read::Given(UNSET) => Self::Unset,
            Read::Given(value) => Self::Set(value),
            Read::Absent | Read::Refused => Self::Kept,
        }
    }

    const fn set(self) -> Option<i32> {
        match self {
            Self::Set(value) => Some(value),
            Self::Kept | Self::Unset => None,
        }
    }

    const fn apply(self, stored: Option<i32>) -> Option<i32> {
        match self {
            Self::Kept => stored,
            Self::Unset => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl AdaptiveChange {
    /// Reads the object, and tells `settings` what is wrong with it.
    pub(crate) fn read(settings: &mut SettingsReader, given: Read<Object>) -> Option<Self> {
        let mut reader = SettingsReader::new(SCOPE, given.given()?);
        let enabled = reader.boolean("enabled").given();
        let min = Bound::of(reader.integer("min_number_of_allocations"));
        let max = Bound::of(reader.integer("max_number_of_allocations"));
        if let Some(min) = min.set().filter(|min| *min < 0) {
            reader.refuse(format!("[min_number_of_allocations] must be null or at least 0, not [{min}]"));
        }
        if let Some(max) = max.set().filter(|max| *max < 1) {
            reader.refuse(format!("[max_number_of_allocations] must be null or at least 1, not [{max}]"));
        }
        if let Some(rule) = crossed(min.set(), max.set()) {
            reader.refuse(rule);
        }
        let (unknown, items) = reader.finish();
        settings.items.extend(items);
        for (key, _) in unknown.entries() {
            settings.refuse(format!("[{SCOPE}] does not allow the setting [{key}]"));
        }
        Some(Self { enabled, min, max })
    }

    /// The settings of an endpoint that has none so far.
    pub(crate) fn fresh(self) -> AdaptiveAllocations {
        let Self { enabled, min, max } = self;
        AdaptiveAllocations {
            enabled,
            min_number_of_allocations: min.apply(None),
            max_number_of_allocations: max.apply(None),
        }
    }

    /// The settings after the change. Either bound may be fine by itself and cross the other one that is stored.
    pub(crate) fn apply(self, stored: Option<AdaptiveAllocations>) -> Result<AdaptiveAllocations, Refusal> {
        let before = stored.unwrap_or_default();
        let Self { enabled, min, max } = self;
        let after = AdaptiveAllocations {
            enabled: enabled.or(before.enabled),
            min_number_of_allocations: min.apply(before.min_number_of_allocations),
            max_number_of_allocations: max.apply(before.max_number_of_allocations),
        };
        match crossed(after.min_number_of_allocations, after.max_number_of_allocations) {
            Some(rule) => Err(Refusal::Settings(Items::one(format!("[{SCOPE}] {rule}")))),
            None => Ok(after),
        }
    }
}

/// An absent `enabled` is a false one.
pub(crate) fn mean_the_same(one: AdaptiveAllocations, other: AdaptiveAllocations) -> bool {
    let normal = |adaptive: AdaptiveAllocations| AdaptiveAllocations {
        enabled: Some(adaptive.is_enabled()),
        ..adaptive
    };
    normal(one) == normal(other)
}

fn crossed(min: Option<i32>, max: Option<i32>) -> Option<String> {
    let (min, max) = (min?, max?);
    (min > max).then(|| {
        format!(
            "[min_number_of_allocations] of [{min}] must not exceed [max_number_of_allocations] of [{max}]"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> AdaptiveChange {
        let mut settings = SettingsReader::new("service_settings", Object::default());
        let object = Object::parse(text.as_bytes()).unwrap();
        let change = AdaptiveChange::read(&mut settings, Read::Given(object)).unwrap();
        settings.finish().1.or_refuse(change).unwrap()
    }

    fn settings(enabled: Option<bool>, min: Option<i32>, max: Option<i32>) -> AdaptiveAllocations {
        AdaptiveAllocations { enabled, min_number_of_allocations: min, max_number_of_allocations: max }
    }

    #[test]
    fn each_field_is_kept_set_or_unset_by_itself() {
        let stored = Some(settings(Some(true), Some(2), Some(8)));
        let table = [
            ("{}", settings(Some(true), Some(2), Some(8))),
            (r#"{"min_number_of_allocations":null}"#, settings(Some(true), Some(2), Some(8))),
            (r#"{"min_number_of_allocations":3}"#, settings(Some(true), Some(3), Some(8))),
            (r#"{"max_number_of_allocations":-1}"#, settings(Some(true), Some(2), None)),
            (
                r#"{"min_number_of_allocations":-1,"max_number_of_allocations":1}"#,
                settings(Some(true), None, Some(1)),
            ),
            (r#"{"enabled":false}"#, settings(Some(false), Some(2), Some(8))),
        ];
        for (text, expected) in table {
            assert_eq!(change(text).apply(stored), Ok(expected), "{text}");
        }
        assert_eq!(change(r#"{"enabled":true}"#).apply(None), Ok(settings(Some(true), None, None)));
    }

    /// The API server would refuse the pair too, in words about fields that the client did not send.
    #[test]
    fn a_bound_must_not_cross_the_stored_one() {
        let stored = Some(settings(Some(true), Some(2), Some(8)));
        for text in [r#"{"min_number_of_allocations":9}"#, r#"{"max_number_of_allocations":1}"#] {
            assert!(matches!(change(text).apply(stored), Err(Refusal::Settings(_))), "{text}");
        }
    }
}
