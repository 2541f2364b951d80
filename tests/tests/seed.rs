//! The page that the project comes from, followed with curl against the gateway of the installed chart.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, client, references, repository};
use k8s_openapi::api::apps::v1::Deployment;
use lexiscale_crds::InferenceEndpoint;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

const ENDPOINT: &str = "/_inference/sparse_embedding/my-elser-model";

fn body(file: &str) -> Result<String> {
    Ok(fs_err::read_to_string(repository().join("tests/tests/seed").join(file))?)
}

/// Runs curl as a reader of the page would: status, headers, body.
async fn curl(gateway: &Gateway, method: &str, body: Option<&str>) -> Result<(String, String)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "180", "-X", method]);
    if body.is_some() {
        command.args(["-H", "Content-Type: application/json", "--data-binary", "@-"]);
    }
    let mut child = command
        .arg(format!("{}{ENDPOINT}?{}", gateway.url, if method == "DELETE" { "" } else { "timeout=150s" }))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run curl")?;
    let mut stdin = child.stdin.take().context("curl has no input")?;
    stdin.write_all(body.unwrap_or_default().as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "curl {method}: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let (head, body) = text.split_once("\r\n\r\n").context("curl printed no headers")?;
    Ok((head.to_lowercase(), body.to_owned()))
}

/// The fields and their order are those of the file.
fn ensure_same_text(answer: &str, file: &str) -> Result<()> {
    let expected: String = body(file)?.split_whitespace().collect();
    let given: String = answer.split_whitespace().collect();
    ensure!(given == expected, "answered {given}\nexpected {expected}");
    Ok(())
}

async fn embeds_as_the_reference(gateway: &Gateway) -> Result<()> {
    for reference in references()?.iter().step_by(7) {
        let asked = serde_json::json!({ "input": reference.text }).to_string();
        let (_, answer) = curl(gateway, "POST", Some(&asked)).await?;
        let answer: Value = serde_json::from_str(&answer)?;
        reference.check(&answer["sparse_embedding"][0]["embedding"])?;
    }
    Ok(())
}

/// Both example requests and the one that the page recommends in their place, the example response field for field and in its
/// order, embeddings, and nothing left at the end.
#[tokio::test]
async fn the_page_works_word_for_word() -> Result<()> {
    let default = Namespace { client: client().await?, name: "default".to_owned() };
    let gateway = Gateway::open().await?;
    let before = default.remains().await?;

    let (head, answer) = curl(&gateway, "PUT", Some(&body("adaptive.json")?)).await?;
    ensure!(head.starts_with("http/1.1 200"), "{head}\n{answer}");
    ensure!(head.contains("warning: 299 elasticsearch"), "no deprecation warning: {head}");
    ensure_same_text(&answer, "adaptive_response.json")?;
    let endpoint = default.ready_endpoint("my-elser-model").await?;
    let desired =
        endpoint.status.and_then(|status| status.allocations).map(|allocations| allocations.desired);
    ensure!(desired == Some(3), "adaptive allocations start with {desired:?}");
    let replicas = default.api::<Deployment>().get("my-elser-model").await?.spec.replicas;
    ensure!(replicas == Some(3), "{replicas:?} replicas");
    embeds_as_the_reference(&gateway).await?;
    let (_, answer) = curl(&gateway, "DELETE", None).await?;
    ensure!(answer.contains(r#""acknowledged":true"#), "{answer}");

    for (request, response, warned) in [
        ("fixed.json", "fixed_response.json", true),
        ("elasticsearch.json", "elasticsearch_response.json", false),
    ] {
        let (head, answer) = curl(&gateway, "PUT", Some(&body(request)?)).await?;
        ensure!(head.starts_with("http/1.1 200"), "{head}\n{answer}");
        ensure!(head.contains("warning:") == warned, "{request}: {head}");
        ensure_same_text(&answer, response)?;
        let stored = default.api::<InferenceEndpoint>().get_opt("my-elser-model").await?;
        ensure!(stored.is_some(), "kubectl does not show it");
        embeds_as_the_reference(&gateway).await?;
        curl(&gateway, "DELETE", None).await?;
    }

    e2e::until("nothing is left of the endpoint", Duration::from_mins(2), async || {
        let remains = default.remains().await?;
        Ok(if remains == before { Ok(()) } else { Err(remains) })
    })
    .await
}
