//! Writes the custom resource definitions as YAML, or checks that what lies there is what the types say.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use fs_err as fs;
use lexiscale_crds::manifests;

/// Generates the YAML of the custom resource definitions from the Rust types.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Write nothing; fail if a file is not what would be written.
    #[arg(long)]
    check: bool,
    /// Directories that get one file per definition.
    #[arg(default_value = "crds/yaml")]
    directories: Vec<PathBuf>,
}

const HEADER: &str = "# Generated from crds/src by `make generate`. Edit the types there, never this file.\n";

fn main() -> Result<()> {
    let Arguments { check, directories } = Arguments::parse();
    for definition in manifests::all() {
        let file = format!("{}.yaml", definition.metadata.name.as_deref().unwrap_or_default());
        let yaml = serde_norway::to_string(&definition).context("failed to write a definition as YAML")?;
        let content = format!("{HEADER}{yaml}");
        for directory in &directories {
            let path = directory.join(&file);
            if !check {
                fs::create_dir_all(directory)?;
                fs::write(&path, &content)?;
            } else if fs::read_to_string(&path).ok().as_ref() != Some(&content) {
                bail!(
                    "{} is not what the types say; run `make generate` and commit the result",
                    path.display()
                );
            }
        }
    }
    Ok(())
}
