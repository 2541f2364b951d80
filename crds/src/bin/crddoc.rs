//! Writes the reference of the custom resources as Markdown, from the same definitions that the cluster gets, or checks
//! that what lies there is what the types say.

use std::{fmt::Write, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use fs_err as fs;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use lexiscale_crds::manifests;

/// Generates the Markdown reference of the custom resources.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Write nothing; fail if the file is not what would be written.
    #[arg(long)]
    check: bool,
    /// The file.
    #[arg(default_value = "docs/reference/crds.md")]
    file: PathBuf,
}

const HEADER: &str = "\
<!-- Generated from crds/src by `make generate`. Edit the types there, never this file. -->

# Custom resources

What `kubectl explain` says, on one page. Fields of `spec` are optional unless marked **required**; rules are checked by the
API server at `kubectl apply`.
";

/// Types of Kubernetes itself, which its own reference explains.
const KUBERNETES_TYPES: [&str; 2] = ["conditions", "tolerations"];

fn main() -> Result<()> {
    let Arguments { check, file } = Arguments::parse();
    let mut page = HEADER.to_owned();
    for definition in manifests::all() {
        write_kind(&mut page, &definition)?;
    }
    if !check {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&file, &page)?;
    } else if fs::read_to_string(&file).ok().as_ref() != Some(&page) {
        bail!("{} is not what the types say; run `make generate` and commit the result", file.display());
    }
    Ok(())
}

fn write_kind(page: &mut String, definition: &CustomResourceDefinition) -> Result<()> {
    let names = &definition.spec.names;
    let version = definition.spec.versions.first().context("a definition has no version")?;
    let schema = version.schema.as_ref().and_then(|validation| validation.open_api_v3_schema.as_ref());
    let schema = schema.context("a definition has no schema")?;
    writeln!(page, "\n## {}\n", names.kind)?;
    if let Some(description) = &schema.description {
        writeln!(page, "{}\n", one_line(description))?;
    }
    let short_names = names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    writeln!(
        page,
        "`apiVersion: {}/{}`, short name {}, {}.",
        definition.spec.group,
        version.name,
        short_names.join(", "),
        columns(version),
    )?;
    for part in ["spec", "status"] {
        if let Some(schema) = schema.properties.as_ref().and_then(|fields| fields.get(part)) {
            write_object(page, part, schema)?;
        }
    }
    Ok(())
}

fn columns(version: &CustomResourceDefinitionVersion) -> String {
    let names = version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str());
    format!("columns of `kubectl get`: {}", names.collect::<Vec<_>>().join(", "))
}

/// The table of an object's fields and its rules, then the same for the objects in it.
fn write_object(page: &mut String, path: &str, schema: &JSONSchemaProps) -> Result<()> {
    let Some(fields) = &schema.properties else {
        return Ok(());
    };
    writeln!(page, "\n### `{path}`\n")?;
    if let Some(description) = &schema.description {
        writeln!(page, "{}\n", one_line(description))?;
    }
    writeln!(page, "| field | type | what it is |\n| --- | --- | --- |")?;
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in fields {
        let mark = if required.contains(name) && path.starts_with("spec") { "**required** " } else { "" };
        let description = one_line(field.description.as_deref().unwrap_or_default()).replace('|', "\\|");
        writeln!(page, "| `{name}` | {} | {mark}{description} |", type_of(field))?;
    }
    write_rules(page, schema, fields.values())?;
    for (name, field) in fields {
        if KUBERNETES_TYPES.contains(&name.as_str()) {
            continue;
        }
        write_object(page, &format!("{path}.{name}"), field)?;
        if let Some(JSONSchemaPropsOrArray::Schema(item)) = &field.items {
            write_object(page, &format!("{path}.{name}[]"), item)?;
        }
    }
    Ok(())
}

/// The messages of the rules of an object and of its plain fields.
fn write_rules<'a>(
    page: &mut String,
    schema: &'a JSONSchemaProps,
    fields: impl Iterator<Item = &'a JSONSchemaProps>,
) -> Result<()> {
    let plain = fields.filter(|field| field.properties.is_none());
    let mut messages = std::iter::once(schema)
        .chain(plain)
        .flat_map(|schema| schema.x_kubernetes_validations.iter().flatten())
        .filter_map(|rule| rule.message.as_deref())
        .peekable();
    if messages.peek().is_some() {
        writeln!(page, "\nRefused with:\n")?;
    }
    for message in messages {
        writeln!(page, "- {}", one_line(message))?;
    }
    Ok(())
}

/// The type with its bounds, as short as a table wants it.
fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(values) = &schema.enum_ {
        return values
            .iter()
            .map(|value| format!("`{}`", value.0.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let name = schema.type_.as_deref().unwrap_or("any");
    let bounds = match (name, schema.minimum, schema.maximum) {
        (_, Some(minimum), Some(maximum)) => format!(", {minimum} to {maximum}"),
        (_, Some(minimum), None) => format!(", at least {minimum}"),
        (_, None, Some(maximum)) => format!(", at most {maximum}"),
        ("string", None, None) => {
            schema.max_length.map(|length| format!(", at most {length} characters")).unwrap_or_default()
        }
        (_, None, None) => String::new(),
    };
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => format!("array of {}{bounds}", type_of(item)),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => format!("{name}{bounds}"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
