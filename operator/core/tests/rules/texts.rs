//! Any text that a manifest or the chart's values may hold.

use lexiscale_core::{
    catalog::Catalog,
    model::{ModelSource, Revision},
    quantity::{Bytes, Cpu},
};
use lexiscale_fuzz::{Inputs, fuzz};

#[test]
fn any_source_gets_a_verdict() {
    let seeds = [
        "hf://organisation/name",
        "https://host.example/folder/",
        "s3://bucket/prefix/model.tar",
        "pvc://claim/team/splade",
        "oci://registry.example:5000/team/splade:v2",
        "v1.0",
        "10Gi",
        "1500m",
    ];
    let words = ["hf://", "oci://", "@sha256:", "/../", "%2e", "?", "#", ":", "e9", "Ki", "-"];
    fuzz(&Inputs::of_texts("manifest-texts", &seeds, &words), |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(source) = text.parse::<ModelSource>() {
            assert_eq!(source.as_str().parse::<ModelSource>().unwrap().place(), source.place(), "{text:?}");
        }
        if let Ok(revision) = text.parse::<Revision>() {
            assert_eq!(revision.as_str(), text);
        }
        let _ = text.parse::<Bytes>();
        let _ = text.parse::<Cpu>();
    });
}

#[test]
fn any_catalog_gets_a_verdict() {
    let seed = "models:\n  - { ids: [a, b], source: hf://org/a, revision: v1 }\n  - ids: [c]\n    source: https://h.example/m/\ndefaultModelId: a\n";
    let words =
        ["ids:", "source:", "revision:", "defaultModelId:", "&a [*a]", "!!int", "? ", "- ", "\t", "null"];
    fuzz(&Inputs::of_texts("catalog", &[seed], &words), |input| {
        let _ = Catalog::parse(&String::from_utf8_lossy(input));
    });
}
