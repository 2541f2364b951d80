//! `?filter_path=`: parts of an answer. Comma-separated paths of names with dots between them; `*` stands for
//! any characters of one name, `**` for any number of names, a leading `-` leaves the path out instead.

use super::error::Refusal;
use super::json::{Json, Object};

/// Far more names than any answer is deep.
const MOST_SEGMENTS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FilterPath {
    include: Vec<Path>,
    exclude: Vec<Path>,
}

/// Each is tried on every name of an answer.
const MOST_PATHS: usize = 32;

type Path = Vec<String>;

/// Where a path stands after some names: its number and the next segment.
type Position = (usize, usize);

impl FilterPath {
    /// `None` when no path is given.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        let mut filter = Self::default();
        for path in text.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            let (list, path) = match path.strip_prefix('-') {
                Some(path) => (&mut filter.exclude, path),
                None => (&mut filter.include, path),
            };
            let mut segments: Path = path.split('.').map(str::to_owned).collect();
            segments.dedup_by(|next, last| next == "**" && last == "**");
            if segments.len() > MOST_SEGMENTS {
                return Err(Refusal::argument(format!(
                    "a path of [filter_path] has [{}] names; at most [{MOST_SEGMENTS}] are allowed",
                    segments.len()
                )));
            }
            list.push(segments);
            if filter.include.len() + filter.exclude.len() > MOST_PATHS {
                return Err(Refusal::argument(format!(
                    "[filter_path] may have at most [{MOST_PATHS}] paths"
                )));
            }
        }
        Ok((filter != Self::default()).then_some(filter))
    }

    pub(crate) fn apply(&self, value: Json) -> Json {
        let included = if self.include.is_empty() {
            Some(value)
        } else {
            keep(&self.include, &start(&self.include), value)
        };
        let included = included.unwrap_or_else(|| Json::Object(Object::default()));
        leave_out(&self.exclude, &start(&self.exclude), included)
    }
}

fn start(paths: &[Path]) -> Vec<Position> {
    (0..paths.len()).map(|path| (path, 0)).collect()
}

enum Step {
    /// A path ends here.
    Whole,
    /// Paths may end further down.
    Into(Vec<Position>),
    No,
}

fn step(paths: &[Path], positions: &[Position], name: &str) -> Step {
    let mut next = Vec::new();
    for &(path, index) in positions {
        let segments = &paths[path];
        let mut index = index;
        while segments.get(index).is_some_and(|segment| segment == "**") {
            next.push((path, index));
            index += 1;
        }
        // A path that ends in `**` takes everything below.
        if index == segments.len() {
            return Step::Whole;
        }
        if wildcard(&segments[index], name) {
            if index + 1 == segments.len() {
                return Step::Whole;
            }
            next.push((path, index + 1));
        }
    }
    // Many ways lead through `**` to one position; kept apart, they would double with every level.
    next.sort_unstable();
    next.dedup();
    if next.is_empty() { Step::No } else { Step::Into(next) }
}

fn keep(paths: &[Path], positions: &[Position], value: Json) -> Option<Json> {
    match value {
        Json::Object(object) => {
            let kept: Vec<_> = object
                .into_entries()
                .into_iter()
                .filter_map(|(name, value)| {
                    let value = match step(paths, positions, &name) {
                        Step::Whole => Some(value),
                        Step::Into(next) => keep(paths, &next, value),
                        Step::No => None,
                    };
                    value.map(|value| (name, value))
                })
                .collect();
            (!kept.is_empty()).then(|| Json::Object(Object::from_entries(kept)))
        }
        Json::Array(values) => {
            let kept: Vec<_> = values.into_iter().filter_map(|value| keep(paths, positions, value)).collect();
            (!kept.is_empty()).then_some(Json::Array(kept))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}

fn leave_out(paths: &[Path], positions: &[Position], value: Json) -> Json {
    match value {
        Json::Object(object) => {
            let left = object.into_entries().into_iter().filter_map(|(name, value)| {
                let value = match step(paths, positions, &name) {
                    Step::Whole => None,
                    Step::Into(next) => Some(leave_out(paths, &next, value)),
                    Step::No => Some(value),
                };
                value.map(|value| (name, value))
            });
            Json::Object(Object::from_entries(left.collect()))
        }
        Json::Array(values) => {
            Json::Array(values.into_iter().map(|value| leave_out(paths, positions, value)).collect())
        }
        scalar @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => scalar,
    }
}

/// `*` as any characters. Greedy with one step back, so no pattern takes more than `name` x `pattern`
/// comparisons.
fn wildcard(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
        } else if pattern.get(at) == Some(&name[from]) {
            at += 1;
            from += 1;
        } else if let Some((star_at, star_from)) = star {
            star = Some((star_at, star_from + 1));
            at = star_at + 1;
            from = star_from + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_and_leaves_out_by_path() {
        let answer = r#"{"endpoints":[{"inference_id":"a","service_settings":{"num_threads":1,"model_id":"m"}},{"inference_id":"b"}],"status":1}"#;
        let table = [
            ("endpoints.inference_id", r#"{"endpoints":[{"inference_id":"a"},{"inference_id":"b"}]}"#),
            ("status", r#"{"status":1}"#),
            ("**.num_threads", r#"{"endpoints":[{"service_settings":{"num_threads":1}}]}"#),
            ("endpoints.*_settings.m*", r#"{"endpoints":[{"service_settings":{"model_id":"m"}}]}"#),
            ("-endpoints", r#"{"status":1}"#),
            (
                "endpoints.*,-**.num_threads,-**.inference_id",
                r#"{"endpoints":[{"service_settings":{"model_id":"m"}},{}]}"#,
            ),
            ("nothing.here", "{}"),
            (
                "endpoints.**",
                r#"{"endpoints":[{"inference_id":"a","service_settings":{"num_threads":1,"model_id":"m"}},{"inference_id":"b"}]}"#,
            ),
        ];
        for (path, expected) in table {
            let filtered =
                FilterPath::parse(path).unwrap().unwrap().apply(Json::parse(answer.as_bytes()).unwrap());
            assert_eq!(serde_json::to_string(&filtered).unwrap(), expected, "{path}");
        }
        assert_eq!(FilterPath::parse(" , "), Ok(None));
    }

    #[test]
    fn a_path_costs_no_more_than_its_length() {
        let collapsed = FilterPath::parse(&format!("{}x", "**.".repeat(10_000))).unwrap().unwrap();
        assert_eq!(collapsed.include, [["**", "x"]]);
        assert!(matches!(FilterPath::parse(&"a.".repeat(MOST_SEGMENTS)), Err(Refusal::Argument(_))));

        let paths = FilterPath::parse(&format!("{}x", "**.*.".repeat(31))).unwrap().unwrap().include;
        let mut positions = start(&paths);
        for _ in 0..64 {
            let Step::Into(next) = step(&paths, &positions, "a") else { panic!("no path ends at [a]") };
            assert!(next.len() <= MOST_SEGMENTS, "{}", next.len());
            positions = next;
        }
    }

    #[test]
    fn a_filter_has_no_more_paths_than_somebody_would_write() {
        let paths = |count| vec!["**.a"; count].join(",");
        assert!(FilterPath::parse(&paths(MOST_PATHS)).is_ok());
        assert!(FilterPath::parse(&paths(MOST_PATHS + 1)).is_err());
    }

    #[test]
    fn wildcards_match_like_a_shell() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*a*a*", "xaxa", true),
            ("a", "ab", false),
            ("", "", true),
        ] {
            assert_eq!(wildcard(pattern, name), expected, "{pattern} {name}");
        }
    }
}
