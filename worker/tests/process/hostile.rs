//! Files that were made to harm whoever reads them. Each goes the whole way of a downloaded model, in the process that reads
//! models, and each must end in its reason: never in success, in a crash of ours, or without a word.

mod bounds;
mod onnx;
mod safetensors;
mod settings;
mod tokenizer;

use std::collections::BTreeSet;
use std::path::Path;

use lexiscale_wire::FetchReason;
use lexiscale_worker::model::assemble::Origin;
use lexiscale_worker::model::intake::{Intake, Job, Limits};
use lexiscale_worker::model::manifest::Manifest;
use lexiscale_worker::model::select::select;
use lexiscale_worker::telemetry::chain;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::models::{file_names, library, small_source};

/// Makes a good model a bad one.
type Damage = Box<dyn Fn(&Path)>;

struct Case {
    name: &'static str,
    /// The model that is damaged.
    model: &'static str,
    damage: Damage,
    reason: FetchReason,
    /// Part of what the user reads.
    message: &'static str,
}

fn case(
    name: &'static str,
    model: &'static str,
    (reason, message): (FetchReason, &'static str),
    damage: impl Fn(&Path) + 'static,
) -> Case {
    Case { name, model, damage: Box::new(damage), reason, message }
}

fn copy_of(model: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = small_source(model);
    for name in file_names(&source) {
        let path = folder.path().join(&name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::copy(source.join(&name), path).unwrap();
    }
    folder
}

fn intake(runtime: bool, limits: Option<Limits>) -> Intake {
    let program = env!("CARGO_BIN_EXE_lexiscale-worker").into();
    Intake::Child { program, runtime: runtime.then(library), limits }
}

fn read(folder: &Path, names: &[String], intake: &Intake) -> Result<Manifest, (FetchReason, String)> {
    let origin = Origin {
        source: "hf://lexiscale/test".to_owned(),
        requested_revision: "main".to_owned(),
        revision: "0".repeat(40),
        license: None,
        source_digest: "sha256:00".to_owned(),
    };
    let selection = select(names).unwrap();
    let job = Job { folder, selection: &selection, origin: &origin, staging: &folder.join("publish") };
    let taken = intake.run(job, &CancellationToken::new());
    taken.map(|taken| taken.manifest).map_err(|error| (error.reason(), chain(&error)))
}

/// What is read is what the good model would have been read for, and what the damage added.
fn names(folder: &Path, good: &str) -> Vec<String> {
    let mut names = file_names(&small_source(good));
    for extra in ["model.safetensors.index.json", "modules.json", "router_config.json"] {
        if folder.join(extra).exists() && !names.iter().any(|name| name == extra) {
            names.push(extra.to_owned());
        }
    }
    names.retain(|name| fs_err::symlink_metadata(folder.join(name)).is_ok());
    names
}

fn refused(cases: &[Case]) {
    for Case { name, model, damage, reason, message } in cases {
        let folder = copy_of(model);
        damage(folder.path());
        match read(folder.path(), &names(folder.path(), model), &intake(false, None)) {
            Ok(_) => panic!("{name}: was taken"),
            Err((found, text)) => {
                assert_eq!(found, *reason, "{name}: {text}");
                assert!(text.contains(message), "{name}: {text}");
            }
        }
    }
}

/// Without this, a table in which every model is refused for another reason would pass.
#[test]
fn undamaged_models_are_taken() {
    for model in [
        "bert-f32",
        "roberta-f32",
        "xlm-roberta-f16-untied",
        "modernbert-f32",
        "sparse-router",
        "onnx-logits",
    ] {
        let folder = copy_of(model);
        let names = names(folder.path(), model);
        let manifest = read(folder.path(), &names, &intake(true, None)).unwrap();
        assert!(manifest.vocabulary.is_some_and(|digest| digest.starts_with("sha256:")), "{model}");
    }
}

#[test]
fn there_are_sixty_cases_and_more() {
    let all = [safetensors::cases(), settings::cases(), tokenizer::cases(), onnx::cases()];
    let cases =
        || all.iter().enumerate().flat_map(|(table, cases)| cases.iter().map(move |case| (table, case)));
    let count = cases().count();
    println!("{count} hostile files");
    assert!(count >= 60, "{count}");
    let distinct: BTreeSet<_> = cases().map(|(table, case)| (table, case.name)).collect();
    assert_eq!(distinct.len(), count, "a case that is there twice counts once");
    assert!(
        cases().all(|(_, case)| case.message.len() >= 4),
        "any refusal would do for a case without words"
    );
}
