//! `api-key`: makes an API key for the gateway. The manifest goes to standard output, to be applied; the key
//! itself, which nobody can find out again, to standard error.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use secrecy::ExposeSecret;

use crate::gateway::{ApiKeyFormat, NewKey, Verb};

/// Settings of `api-key`.
#[derive(clap::Args, Clone, Debug)]
pub struct Settings {
    /// Name of the key: of its file, and in the access log.
    #[arg(long)]
    pub id: String,

    /// Namespace of endpoints that it is for, or `*`; may be given several times.
    #[arg(long = "namespace", default_value = "default", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// What it may do; may be given several times.
    #[arg(long = "verb", value_enum, default_values_t = [Verb::Infer, Verb::Get], value_delimiter = ',')]
    pub verbs: Vec<Verb>,

    /// Inference id that it may do it to, `*` at its end allowed; may be given several times.
    #[arg(long = "endpoint", default_value = "*", value_delimiter = ',')]
    pub endpoints: Vec<String>,

    /// When it ends, for example 2030-01-01T00:00:00Z; without it, never.
    #[arg(long)]
    pub expires: Option<Timestamp>,

    /// Name of the Secret, `gateway.auth.apiKeysSecret` of the chart.
    #[arg(long, default_value = "lexiscale-api-keys")]
    pub secret_name: String,
}

/// Makes the key and prints it.
pub fn run(settings: Settings, mut manifest: impl Write, mut key: impl Write) -> anyhow::Result<()> {
    let Settings { id, namespaces, verbs, endpoints, expires, secret_name } = settings;
    let NewKey { credential, hash } = NewKey::generate(&id)?;
    let entry = serde_json::to_string(&ApiKeyFormat { hash, namespaces, verbs, endpoints, expires })?;
    let secret = Secret {
        metadata: ObjectMeta { name: Some(secret_name), ..ObjectMeta::default() },
        string_data: Some(BTreeMap::from([(id, entry)])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    // The key first: should the manifest's reader be gone, nothing was applied that nobody has the key for.
    writeln!(key, "# Shown only now. The gateway keeps a hash, from the manifest; apply that with kubectl.")?;
    writeln!(key, "Authorization: ApiKey {}", credential.expose_secret())?;
    manifest.write_all(serde_norway::to_string(&secret)?.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn the_secret_is_shown_once_and_only_its_hash_is_kept() {
        let settings =
            Arguments::parse_from(["api-key", "--id", "search-app", "--verb", "infer", "--endpoint", "a,b"])
                .settings;
        let (mut manifest, mut key) = (Vec::new(), Vec::new());
        run(settings, &mut manifest, &mut key).unwrap();
        let secret: Secret = serde_norway::from_slice(&manifest).unwrap();
        let entry: ApiKeyFormat = serde_json::from_str(&secret.string_data.unwrap()["search-app"]).unwrap();
        assert_eq!(
            (entry.verbs.as_slice(), entry.endpoints.as_slice()),
            (&[Verb::Infer] as &[_], &["a".to_owned(), "b".to_owned()] as &[_])
        );
        assert!(entry.hash.starts_with("sha256:") && entry.expires.is_none());
        let key = String::from_utf8(key).unwrap();
        let credential = key.trim_end().rsplit(' ').next().unwrap();
        assert!(!String::from_utf8(manifest).unwrap().contains(credential));
    }

    #[test]
    fn an_id_that_is_no_file_name_is_refused() {
        let settings = Arguments::parse_from(["api-key", "--id", "a/b"]).settings;
        assert!(run(settings, Vec::new(), Vec::new()).is_err());
    }
}
