use std::collections::BTreeSet;

use super::*;

/// What each URL resolves to, where its host is a name. None of them may be asked, and each says why.
const REFUSED: &[(&str, Option<&str>, &str)] = &[
    // Schemes and syntax.
    ("", None, "no absolute URL"),
    ("models.example.com/a", None, "no absolute URL"),
    ("//models.example.com/a", None, "no absolute URL"),
    ("ftp://models.example.com/a", None, "scheme"),
    ("file:///etc/passwd", None, "scheme"),
    ("gopher://models.example.com:70/_x", None, "scheme"),
    ("dict://127.0.0.1:11211/stats", None, "scheme"),
    ("unix:///var/run/docker.sock", None, "scheme"),
    ("jar:https://models.example.com!/a", None, "scheme"),
    ("http://models.example.com/a", None, "plain http"),
    ("https:///a", None, "no name"),
    ("https://", None, "no name"),
    ("https://models.example.com:0/", None, "no absolute URL"),
    ("https://models.example.com:99999/", None, "no absolute URL"),
    ("https://models.example.com:443:80/", None, "no name"),
    ("https://models.example.com:+443/", None, "no absolute URL"),
    ("https://models.example.com/a#b", None, "characters"),
    ("https://models.example.com\\@127.0.0.1/", None, "characters"),
    ("https://models.example.com /", None, "characters"),
    ("https://models.example.com/a\r\nHost: metadata", None, "characters"),
    ("https://ex\u{e4}mple.com/", None, "characters"),
    ("https://models.example.com%2f@127.0.0.1/", None, "a user"),
    // Users.
    ("https://user@models.example.com/", None, "a user"),
    ("https://user:hunter2@models.example.com/", None, "a user"),
    ("https://models.example.com@127.0.0.1/", None, "a user"),
    ("https://169.254.169.254%40models.example.com@10.0.0.1/", None, "a user"),
    // Ports.
    ("https://models.example.com:22/", None, "port 22"),
    ("https://models.example.com:6443/", None, "port 6443"),
    ("https://models.example.com:80/", None, "port 80"),
    ("https://models.example.com:2379/", None, "port 2379"),
    // IPv4 in plain form.
    ("https://127.0.0.1/", None, "the machine itself"),
    ("https://127.255.255.254/", None, "the machine itself"),
    ("https://0.0.0.0/", None, "no address of one machine"),
    ("https://0.1.2.3/", None, "no address of one machine"),
    ("https://10.0.0.1/", None, "private network"),
    ("https://172.16.0.1/", None, "private network"),
    ("https://172.31.255.255/", None, "private network"),
    ("https://192.168.1.1/", None, "private network"),
    ("https://100.64.0.1/", None, "shared network"),
    ("https://100.100.100.200/latest/meta-data/", None, "shared network"),
    ("https://169.254.169.254/latest/meta-data/", None, "link-local"),
    ("https://169.254.170.2/v2/credentials", None, "link-local"),
    ("https://224.0.0.1/", None, "multicast"),
    ("https://255.255.255.255/", None, "broadcast"),
    ("https://192.0.2.1/", None, "documentation"),
    ("https://198.51.100.7/", None, "documentation"),
    ("https://203.0.113.9/", None, "documentation"),
    ("https://198.18.0.1/", None, "reserved"),
    ("https://192.0.0.8/", None, "reserved"),
    ("https://240.0.0.1/", None, "reserved"),
    // IPv4 in other forms.
    ("https://2130706433/", None, "read differently"),
    ("https://0x7f000001/", None, "read differently"),
    ("https://0x7f.0.0.1/", None, "read differently"),
    ("https://0177.0.0.1/", None, "read differently"),
    ("https://017700000001/", None, "read differently"),
    ("https://127.1/", None, "read differently"),
    ("https://127.0.1/", None, "read differently"),
    ("https://127.0.0.1./", None, "read differently"),
    ("https://10.0.0.0x1/", None, "read differently"),
    ("https://1.2.3.4.5/", None, "read differently"),
    ("https://127.0.0.256/", None, "read differently"),
    // IPv6.
    ("https://[::1]/", None, "the machine itself"),
    ("https://[::]/", None, "no address of one machine"),
    ("https://[0:0:0:0:0:0:0:1]/", None, "the machine itself"),
    ("https://[fe80::1]/", None, "link-local"),
    ("https://[fe80::1%25eth0]/", None, "no name"),
    ("https://[fd00:ec2::254]/", None, "unique local"),
    ("https://[fc00::1]/", None, "unique local"),
    ("https://[ff02::1]/", None, "multicast"),
    ("https://[2001:db8::1]/", None, "documentation"),
    ("https://[3fff::1]/", None, "documentation"),
    ("https://[::ffff:127.0.0.1]/", None, "guise"),
    ("https://[::ffff:a9fe:a9fe]/", None, "guise"),
    ("https://[::ffff:8.8.8.8]/", None, "guise"),
    ("https://[::7f00:1]/", None, "guise"),
    ("https://[64:ff9b::7f00:1]/", None, "guise"),
    ("https://[64:ff9b::169.254.169.254]/", None, "guise"),
    ("https://[64:ff9b:1::808:808]/", None, "guise"),
    ("https://[2002:7f00:1::]/", None, "guise"),
    ("https://[2002:808:808::1]/", None, "guise"),
    ("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", None, "guise"),
    ("https://[fec0::1]/", None, "reserved"),
    ("https://[100::1]/", None, "reserved"),
    ("https://[::1/", None, "no name"),
    // Names, by what they resolve to.
    ("https://localhost/", Some("127.0.0.1"), "the machine itself"),
    ("https://LOCALHOST./", Some("::1"), "the machine itself"),
    ("https://kubernetes.default.svc/", Some("10.96.0.1"), "private network"),
    ("https://metadata.google.internal/", Some("169.254.169.254"), "link-local"),
    ("https://rebound.example.com/", Some("192.168.0.10"), "private network"),
    ("https://six.example.com/", Some("fd12::1"), "unique local"),
    ("https://mapped.example.com/", Some("::ffff:10.0.0.1"), "guise"),
    ("https://nat64.example.com/", Some("64:ff9b::a00:1"), "guise"),
    ("https://-bad.example.com/", None, "no name"),
    ("https://a..b/", None, "no name"),
    ("https://%6c%6f%63%61%6c%68%6f%73%74/", None, "no name"),
];

fn judge(policy: &AddressPolicy, url: &str, resolved: Option<&str>) -> Result<(), Refusal> {
    let address = Address::parse(url)?;
    policy.check(&address)?;
    resolved.map_or(Ok(()), |ip| policy.check_ip(&address, ip.parse().unwrap()))
}

/// Whoever may name a model must not be able to make the cluster ask its own inside for them.
#[test]
fn every_way_into_the_inside_is_refused_with_its_reason() {
    let distinct: BTreeSet<_> = REFUSED.iter().map(|(url, _, _)| url).collect();
    assert!(
        distinct.len() >= 50 && distinct.len() == REFUSED.len(),
        "{} of {}",
        distinct.len(),
        REFUSED.len()
    );
    for (url, resolved, reason) in REFUSED {
        let refusal = judge(&AddressPolicy::default(), url, *resolved).expect_err(url).to_string();
        assert!(refusal.contains(reason), "{url:?}: {refusal}");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
}

#[test]
fn public_servers_are_asked() {
    for (url, resolved) in [
        ("https://huggingface.co", "3.5.7.9"),
        ("https://models.example.com/a/b?c=d%20e", "8.8.8.8"),
        ("https://models.example.com:443/", "2606:4700::1111"),
        ("https://models.example.com/", "64:ff9b::808:808"),
        ("https://8.8.8.8/", "8.8.8.8"),
        ("HTTPS://Models.Example.com/", "100.128.0.1"),
    ] {
        judge(&AddressPolicy::default(), url, Some(resolved)).expect(url);
    }
}

#[test]
fn permission_for_private_networks_does_not_reach_the_clouds_metadata() {
    let policy = AddressPolicy { allow_private: true, ..AddressPolicy::default() };
    for (url, resolved) in [
        ("http://hub.models.svc.cluster.local:8080/", "10.96.3.4"),
        ("http://127.0.0.1:5000/", "127.0.0.1"),
        ("https://mirror.local/", "fd00::7"),
        ("https://mirror.local/", "100.64.3.4"),
    ] {
        judge(&policy, url, Some(resolved)).expect(url);
    }
    for (url, resolved) in [
        ("http://169.254.169.254/", None),
        ("http://metadata.google.internal/", Some("169.254.169.254")),
        ("http://mirror.local/", Some("0.0.0.0")),
        ("http://mirror.local/", Some("::ffff:10.0.0.1")),
        ("http://[fe80::1]/", None),
        ("http://2130706433/", None),
    ] {
        assert!(judge(&policy, url, resolved).is_err(), "{url}");
    }
}

/// The operator's own mirror is in the cluster; a redirect from it to another private server is not its affair.
#[test]
fn trust_in_a_server_ends_at_its_port() {
    let policy = AddressPolicy {
        trusted: vec![Address::parse("http://hub.models.svc").unwrap()],
        ..AddressPolicy::default()
    };
    judge(&policy, "http://HUB.models.svc/api/models", Some("10.0.0.3")).unwrap();
    for url in ["http://hub.models.svc:8080/", "https://hub.models.svc/", "http://other.models.svc/"] {
        assert!(judge(&policy, url, Some("10.0.0.3")).is_err(), "{url}");
    }
    let listed = AddressPolicy { ports: vec![8443], ..AddressPolicy::default() };
    judge(&listed, "https://models.example.com:8443/", Some("8.8.8.8")).unwrap();
    assert!(judge(&listed, "https://models.example.com:8443/", Some("10.0.0.1")).is_err());
}

#[test]
fn redirects_stay_on_http_and_never_leave_https() {
    let hub = Address::parse("https://hub.example/a/b").unwrap();
    assert_eq!(hub.follow("/x?y=1").unwrap().as_str(), "https://hub.example/x?y=1");
    assert_eq!(hub.follow("https://cdn.example/x").unwrap().host(), "cdn.example");
    for bad in [
        "http://cdn.example/x",
        "ftp://cdn.example/x",
        "file:///etc/passwd",
        "//cdn.example/x",
        "x",
        "",
        "https://user:password@cdn.example/x",
    ] {
        assert!(hub.follow(bad).is_err(), "{bad}");
    }
    assert!(Address::parse("http://hub.example").unwrap().follow("https://cdn.example/x").is_ok());
}

/// The token goes with requests to the same server only.
#[test]
fn another_port_or_scheme_is_another_server() {
    let hub = Address::parse("https://hub.example").unwrap();
    assert!(hub.at("/a").is_same_server(&hub));
    assert!(Address::parse("https://HUB.example:443/x").unwrap().is_same_server(&hub));
    for other in ["http://hub.example", "https://hub.example:8443", "https://hub.example.evil"] {
        assert!(!Address::parse(other).unwrap().is_same_server(&hub), "{other}");
    }
}

proptest::proptest! {
    /// Two readers of one address that disagree about its host are how such rules are gone around.
    #[test]
    fn what_was_judged_is_what_the_http_library_asks(text in "https?://[a-zA-Z0-9.:@/?%_\\[\\]-]{0,48}") {
        if let Ok(address) = Address::parse(&text) {
            let uri: http::Uri = text.parse().unwrap();
            let host = uri.host().unwrap().to_lowercase();
            let port = uri.port_u16().unwrap_or(if address.is_https() { 443 } else { 80 });
            proptest::prop_assert_eq!(address.port(), port);
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            match address.ip() {
                Some(ip) => proptest::prop_assert_eq!(Ok(ip), bare.parse()),
                None => proptest::prop_assert!(bare.parse::<IpAddr>().is_err(), "{}", bare),
            }
        }
    }

    #[test]
    fn no_text_makes_it_stumble(text in "\\PC{0,64}") {
        if let Err(refusal) = Address::parse(&text) {
            proptest::prop_assert!(refusal.to_string().contains("is not an address that downloads may use"));
        }
    }
}
