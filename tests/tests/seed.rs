//! The page that the project comes from, followed with curl against the gateway of the installed chart: its requests to the
//! letter, with no parameter that it does not have, and what it says of each setting.

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Gateway, Namespace, client, references, repository};
use k8s_openapi::api::apps::v1::Deployment;
use lexiscale_crds::InferenceEndpoint;
use serde::Deserialize;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

const ENDPOINT: &str = "_inference/sparse_embedding/my-elser-model";

fn body(file: &str) -> Result<String> {
    Ok(fs_err::read_to_string(repository().join("tests/tests/seed").join(file))?)
}

/// Runs curl as a reader of the page would: status line and headers, body.
async fn curl(gateway: &Gateway, method: &str, path: &str, body: Option<&str>) -> Result<(String, String)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "180", "-X", method]);
    if body.is_some() {
        command.args(["-H", "Content-Type: application/json", "--data-binary", "@-"]);
    }
    let mut child = command
        .arg(format!("{}/{path}", gateway.url))
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

/// The page's request, without a time-out. It warns that a console may give up while the model downloads in the background:
/// whoever then sends the same again gets to the same end.
async fn create(gateway: &Gateway, body: &str) -> Result<(String, String)> {
    for _ in 0..5 {
        let (head, answer) = curl(gateway, "PUT", ENDPOINT, Some(body)).await?;
        if !head.starts_with("http/1.1 408") {
            ensure!(head.starts_with("http/1.1 200"), "{head}\n{answer}");
            return Ok((head, answer));
        }
    }
    bail!("the endpoint does not start")
}

async fn delete(gateway: &Gateway, path: &str) -> Result<()> {
    let (head, answer) = curl(gateway, "DELETE", path, None).await?;
    ensure!(
        head.starts_with("http/1.1 200") && answer.contains(r#""acknowledged":true"#),
        "{head}\n{answer}"
    );
    Ok(())
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
        let (head, answer) = curl(gateway, "POST", ENDPOINT, Some(&asked)).await?;
        let precision = head.lines().find_map(|line| line.strip_prefix("x-lexiscale-precision: "));
        let answer: Value = serde_json::from_str(&answer)?;
        let precision = precision.and_then(|precision| precision.trim().parse().ok());
        reference.check(&answer["sparse_embedding"][0]["embedding"], precision)?;
    }
    Ok(())
}

/// Both example requests and the one that the page recommends in their place, the example response field for field and in its
/// order, embeddings, and nothing left at the end. One test, because one namespace is looked at.
#[tokio::test]
async fn the_page_works_word_for_word() -> Result<()> {
    let default = Namespace { client: client().await?, name: "default".to_owned() };
    let gateway = Gateway::open().await?;
    let before = default.remains().await?;

    let (head, answer) = create(&gateway, &body("adaptive.json")?).await?;
    ensure!(head.contains("warning: 299 elasticsearch"), "no deprecation warning: {head}");
    ensure_same_text(&answer, "adaptive_response.json")?;
    let endpoint = default.ready_endpoint("my-elser-model").await?;
    let desired =
        endpoint.status.and_then(|status| status.allocations).map(|allocations| allocations.desired);
    ensure!(desired == Some(3), "adaptive allocations start with {desired:?}");
    let replicas = default.api::<Deployment>().get("my-elser-model").await?.spec.replicas;
    ensure!(replicas == Some(3), "{replicas:?} replicas");
    embeds_as_the_reference(&gateway).await?;
    delete(&gateway, ENDPOINT).await?;

    for (request, response, warned) in [
        ("fixed.json", "fixed_response.json", true),
        ("chunking.json", "chunking_response.json", true),
        ("elasticsearch.json", "elasticsearch_response.json", false),
    ] {
        let (head, answer) = create(&gateway, &body(request)?).await?;
        ensure!(head.contains("warning:") == warned, "{request}: {head}");
        ensure_same_text(&answer, response)?;
        let stored = default.api::<InferenceEndpoint>().get_opt("my-elser-model").await?;
        ensure!(stored.is_some(), "kubectl does not show it");
        embeds_as_the_reference(&gateway).await?;
        delete(&gateway, ENDPOINT).await?;
    }

    default.until_remains(&before).await
}

/// The rules of the page, setting by setting: what it says cannot be is refused and stores nothing.
#[tokio::test]
async fn what_the_page_rules_out_is_refused() -> Result<()> {
    let gateway = Gateway::open().await?;
    let refused: Vec<Refused> = serde_norway::from_str(&body("refused.yaml")?)?;
    for Refused { rule, task_type, body, r#type } in refused {
        let path = format!("_inference/{}/seed-refused", task_type.as_deref().unwrap_or("sparse_embedding"));
        let (head, answer) = curl(&gateway, "PUT", &path, Some(&body)).await?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(head.starts_with("http/1.1 400"), "{rule}: {head}\n{answer}");
        ensure!(answer["error"]["type"] == r#type, "{rule}: {answer}");
        let (head, answer) = curl(&gateway, "GET", "_inference/seed-refused", None).await?;
        ensure!(head.starts_with("http/1.1 404"), "{rule}: it was stored: {head}\n{answer}");
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    rule: String,
    task_type: Option<String>,
    body: String,
    r#type: String,
}
