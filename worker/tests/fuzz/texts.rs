//! Each reader of what a source, a user or an archive says.

use std::net::IpAddr;

use lexiscale_fuzz::{Inputs, fuzz};
use lexiscale_wire::InferenceRequest;
use lexiscale_worker::model::address_policy::{Address, AddressPolicy, Range};
use lexiscale_worker::model::signature::PublicKey;
use lexiscale_worker::model::source::{RevisionName, Source};
use lexiscale_worker::model::sums;
use lexiscale_worker::model::unpack::{Taken, unpack};

fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}

#[test]
fn any_source_gets_a_verdict() {
    let seeds = [
        "hf://organisation/name",
        "https://host.example/folder/SHA256SUMS",
        "s3://bucket/prefix/model.tar",
        "pvc://claim/team/splade",
        "oci://registry.example:5000/team/splade:v2@sha256:0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
    ];
    let words = ["hf://", "oci://", "@sha256:", "/../", "%2e%2e", ".tar", ":", "[::1]", "?", "#"];
    fuzz(&Inputs::of_texts("source", &seeds, &words), |input| {
        let text = text(input);
        if let Ok(revision) = text.parse::<RevisionName>() {
            let encoded = revision.encoded();
            assert!(
                encoded.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#/\\".contains(&byte)),
                "{encoded}"
            );
        }
        if let Ok(source) = text.parse::<Source>() {
            // What is shown, stored in a manifest and compared with is the same source.
            assert_eq!(source.to_string().parse::<Source>().unwrap(), source, "{text:?}");
            let (Source::Bucket { prefix: path, .. } | Source::Claim { path, .. }) = &source else { return };
            assert!(path.split('/').all(|part| part != ".." && part != "."), "{source:?}");
        }
    });
}

/// Asks for nothing but what the policy allows, whatever is written and wherever it redirects to.
#[test]
fn any_address_gets_a_verdict() {
    let seeds = [
        "https://hub.example/organisation/name?download=true",
        "https://93.184.216.34:443/x",
        "https://[2606:2800:220:1::1]/x",
        "https://127.0.0.1/x",
        "//10.0.0.1/latest/meta-data",
        "http://[::ffff:169.254.169.254]:80/",
    ];
    let words = [
        "https://",
        "http://",
        "127.0.0.1",
        "0x7f.1",
        "localhost",
        "[::1]",
        "[fe80::1%25eth0]",
        "@",
        "\\",
        "%00",
        ":443",
        "//",
        "..",
        "169.254.169.254",
        "2130706433",
        "\u{ff0e}",
    ];
    let policy = AddressPolicy::default();
    let origin = Address::parse("https://hub.example/a").unwrap();
    fuzz(&Inputs::of_texts("address", &seeds, &words), |input| {
        let text = text(input);
        for address in [Address::parse(&text), origin.follow(&text)].into_iter().flatten() {
            // As the HTTP library, which connects, reads it.
            let uri: http::Uri = address.as_str().parse().unwrap();
            assert!(address.host().starts_with(&uri.host().unwrap().to_ascii_lowercase()), "{address:?}");
            assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(&address));
            if policy.check(&address).is_ok() {
                assert!(address.is_https() && address.port() == 443, "{address:?}");
                let ip = uri.host().unwrap().trim_matches(['[', ']']).parse::<IpAddr>();
                assert!(ip.is_err() || Range::of(ip.unwrap()) == Range::Public, "{address:?}");
            }
        }
        if let Ok(redirected) = origin.follow(&text) {
            assert!(redirected.is_https(), "{redirected:?}");
        }
    });
}

#[test]
fn any_sums_get_a_verdict() {
    let sum = "0b".repeat(32);
    let seed = format!("{sum}  config.json\n{sum} *onnx/model.onnx\n# a comment\n\n{sum}  ./a b\n");
    fuzz(&Inputs::of_texts("sums", &[&seed], &["  ", " *", "./", "../", "\r\n", "\0", "#"]), |input| {
        if let Ok(files) = sums::parse(&text(input)) {
            let written = sums::format(files.iter().map(|(name, sum)| (name.as_str(), sum.as_str())));
            assert!(!files.is_empty() && written.lines().count() >= files.len(), "{files:?}");
        }
    });
}

/// A key, a message and a signature, parted by blank lines; only the one that was made verifies.
#[test]
fn any_signature_gets_a_verdict() {
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";
    let seed = format!("{KEY}\n\nmessage\n\n{}", "A".repeat(86) + "==");
    let words = [
        "-----BEGIN PUBLIC KEY-----",
        "-----END PUBLIC KEY-----",
        "\n\n",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
        "==",
    ];
    fuzz(&Inputs::of_texts("signature", &[&seed], &words), |input| {
        let text = text(input);
        let mut parts = text.splitn(3, "\n\n");
        let (key, message, signature) = (parts.next(), parts.next(), parts.next());
        if let Ok(key) = key.unwrap_or_default().parse::<PublicKey>() {
            let verdict = key.verify(message.unwrap_or_default().as_bytes(), signature.unwrap_or_default());
            assert!(verdict.is_err(), "nobody has signed {text:?}");
        }
    });
}

/// Plain and compressed: nothing is written beside the folder, and no more than it may be.
#[test]
fn any_archive_gets_a_verdict() {
    const LIMIT: u64 = 64 * 1024;
    for (name, file, gzip) in [("archive", "a.tar", false), ("archive-gzip", "a.tar.gz", true)] {
        let seeds = vec![packed(gzip)];
        let words = [
            "../",
            "models/",
            "ustar\0",
            "ustar  \0",
            "0000644\0",
            "12 path=../x\n",
            "L",
            ".wh.",
            ".wh..wh..opq",
            "x",
            "g",
            "1",
            "2",
        ];
        fuzz(&Inputs { name, seeds, words: &words }, |input| {
            let folder = tempfile::tempdir().unwrap();
            let (archive, output) = (folder.path().join(file), folder.path().join("deep/output"));
            fs_err::create_dir_all(&output).unwrap();
            fs_err::write(&archive, input).unwrap();
            let unpacked = unpack(&archive, &output, LIMIT);
            let beside = |below: &str| fs_err::read_dir(folder.path().join(below)).unwrap().count();
            assert_eq!((beside(""), beside("deep")), (2, 1), "something was written elsewhere");
            let size = |taken: &Taken| fs_err::symlink_metadata(output.join(&taken.name)).unwrap().len();
            let bytes: u64 = unpacked.iter().flat_map(|unpacked| &unpacked.files).map(size).sum();
            assert!(bytes <= LIMIT, "{bytes}");
        });
    }
}

/// A folder as a bundle holds it, with a name that is too long for a header and attributes in a header of their own.
fn packed(gzip: bool) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let long = format!("{}/{}.json", "a".repeat(90), "b".repeat(90));
    for (name, content) in [("config.json", "{}"), ("onnx/model.onnx", "graph"), (long.as_str(), "long")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.append_pax_extensions([("path", b"models/tokenizer.json".as_slice())]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    tar.append_data(&mut header, "short", b"{}".as_slice()).unwrap();
    let bytes = tar.into_inner().unwrap();
    if !gzip {
        return bytes;
    }
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut compressed, &bytes).unwrap();
    compressed.finish().unwrap()
}

/// The body of a request for vectors: what is read holds a text, and is read again as it was written.
#[test]
fn any_request_gets_a_verdict() {
    let seeds = [
        r#"{"input":["one","zw\u00f6lf \ud83d\ude00"],"input_type":"ingest","top_k":8,"max_ratio":0.4,"truncate":true}"#,
        r#"{"input":"one","prompt_name":"query","format":"pairs","min_weight":0.1,"truncation_direction":"left"}"#,
    ];
    let words = ["\"input\":", "null", "[", "{}", "-1", "1e400", "\"\\ud800\"", "\\u0000", "\"top_k\":0"];
    fuzz(&Inputs::of_texts("request", &seeds, &words), |input| {
        if let Ok(request) = serde_json::from_slice::<InferenceRequest>(input) {
            assert!(!request.texts().is_empty(), "{request:?}");
            let written = serde_json::to_vec(&request).unwrap();
            assert_eq!(serde_json::from_slice::<InferenceRequest>(&written).ok(), Some(request));
        }
    });
}
