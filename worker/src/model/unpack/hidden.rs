//! What a layer of an image takes away from those below it: by whiteouts, or by putting something else in the place of a file. PURE.
//! A runtime that mounts the image does the same, and a fetch must not find what is not in it.

use std::collections::BTreeSet;

use tar::EntryType;

const WHITEOUT: &str = ".wh.";
/// Everything that lower layers have in the folder.
const OPAQUE: &str = ".wh..wh..opq";

/// By paths in the image.
#[derive(Debug, Default)]
pub struct Hidden {
    /// With all that is below.
    whole: BTreeSet<String>,
    /// What is below; of the empty path, everything.
    below: BTreeSet<String>,
    /// Files in whose place there is a folder.
    alone: BTreeSet<String>,
}

impl Hidden {
    pub(super) fn note(&mut self, kind: EntryType, path: &str) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name == OPAQUE {
            self.below.insert(folder.to_owned());
        } else if let Some(name) = name.strip_prefix(WHITEOUT) {
            let whole = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            self.whole.insert(whole);
        } else if kind == EntryType::Directory {
            self.alone.insert(path.to_owned());
        } else if !matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::XGlobalHeader) {
            self.whole.insert(path.to_owned());
        }
    }

    /// Whether a file of a lower layer is gone.
    pub fn hides(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        let is_below = |folder: &str| self.whole.contains(folder) || self.below.contains(folder);
        self.whole.contains(path)
            || self.alone.contains(path)
            || self.below.contains("")
            || folders.into_iter().any(is_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(kind: EntryType, entry: &str, path: &str) -> bool {
        let mut hidden = Hidden::default();
        hidden.note(kind, entry);
        hidden.hides(path)
    }

    #[test]
    fn a_layer_hides_what_a_runtime_would_not_show() {
        let plain = EntryType::Regular;
        for (kind, entry, path, expected) in [
            (plain, "models/.wh.a.json", "models/a.json", true),
            (plain, "models/.wh.a.json", "models/a.json.gz", false),
            (plain, ".wh.models", "models/onnx/model.onnx", true),
            (plain, "models/.wh..wh..opq", "models/onnx/model.onnx", true),
            (plain, "models/.wh..wh..opq", "other/a.json", false),
            (plain, ".wh..wh..opq", "other/a.json", true),
            (plain, "models/a.json", "models/a.json", false),
            (EntryType::Symlink, "models/a.json", "models/a.json", true),
            (EntryType::Symlink, "models", "models/a.json", true),
            (EntryType::Link, "models/a.json", "models/a.json", true),
            (EntryType::Directory, "models/a.json", "models/a.json", true),
            (EntryType::Directory, "models", "models/a.json", false),
        ] {
            assert_eq!(hides(kind, entry, path), expected, "{kind:?} {entry} over {path}");
        }
    }
}
