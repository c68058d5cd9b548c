//! Sends windows to a server by Pyroscope's `POST /ingest`.
//!
//! Job: check the address that the user gave, and send a window. Invariants: a window that the server did not accept is
//! an error with a reason; a call takes at most [`PATIENCE`]. Neighbours: [`super::pusher`] decides when to send,
//! `ureq` is the HTTP client.
//!
//! The request is the same as from Grafana Pyroscope's own agents for pprof. The query has `name` (with labels in
//! braces), `from` and `until` (seconds since 1970). The body is a form with the parts `profile` and
//! `sample_type_config`; the latter tells the server how to call each type of sample.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// Longest time of a call, from the name look-up to the answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Separates the parts of the form. The boundary is too long to occur by chance in the bytes of gzip.
const BOUNDARY: &str = "rscalene-7d1f0c5e9b3a4f62a8c4d2e6";

/// A window: an interval of the run as a pprof file.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
    pub(crate) pprof: Vec<u8>,
}

/// The address and the credentials given by the user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Address {
    /// `http://HOST:PORT` or `https://...`; `/ingest` is added to a URL without a path.
    pub(crate) url: String,
    /// Name of the application.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// `(name, password)`, or a token with an empty name.
    pub(crate) auth: Option<(String, String)>,
    /// Further headers, e.g. `X-Scope-OrgID`.
    pub(crate) headers: BTreeMap<String, String>,
}

/// A server whose address has been checked.
#[derive(Debug)]
pub(crate) struct Server {
    agent: Agent,
    url: String,
    application: String,
    headers: Vec<(String, String)>,
}

impl Server {
    /// Checks an address.
    ///
    /// # Errors
    /// Why the address cannot be used.
    pub(crate) fn new(address: &Address) -> Result<Self, String> {
        let url = url(&address.url)?;
        let mut headers: Vec<(String, String)> =
            address.headers.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        if let Some((name, secret)) = &address.auth {
            let basic = || format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")));
            let value = if name.is_empty() { format!("Bearer {secret}") } else { basic() };
            headers.push(("Authorization".to_owned(), value));
        }
        let odd = |text: &str| text.chars().any(|letter| letter.is_control());
        if let Some((key, _)) = headers.iter().find(|(key, value)| odd(key) || odd(value)) {
            return Err(format!("the header `{}` has control characters", key.escape_debug()));
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("rscalene/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        Ok(Self { agent: config.into(), url, application: application(address), headers })
    }

    /// Sends a window.
    ///
    /// # Errors
    /// Why the server did not accept the window.
    pub(crate) fn send(&self, window: &Window) -> Result<(), String> {
        let mut request = self
            .agent
            .post(&self.url)
            .query("name", &self.application)
            .query("from", seconds(window.from))
            .query("until", seconds(window.until))
            .query("format", "pprof")
            .query("spyName", "rscalene")
            .header("Content-Type", format!("multipart/form-data; boundary={BOUNDARY}"));
        for (key, value) in &self.headers {
            request = request.header(key, value);
        }
        request.send(&form(&window.pprof)[..]).map(|_| ()).map_err(|error| match error {
            ureq::Error::StatusCode(code) => format!("the server answers {code}"),
            other => other.to_string(),
        })
    }
}

/// Adds `/ingest` to a URL without a path.
fn url(typed: &str) -> Result<String, String> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| typed.starts_with(scheme));
    let rest = scheme.map(|scheme| &typed[scheme.len()..]).filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let Some(rest) = rest else {
        return Err(format!("`{typed}` is no address of a server, as `http://127.0.0.1:4040` is"));
    };
    if typed.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '?' || letter == '#') {
        return Err(format!("`{typed}` has a query, a fragment or spaces"));
    }
    let (_, path) = rest.split_once('/').unwrap_or((rest, ""));
    let base = typed.trim_end_matches('/');
    Ok(if path.trim_matches('/').is_empty() { format!("{base}/ingest") } else { base.to_owned() })
}

/// `app{key=value,...}`. Characters that end a name or a label are replaced.
fn application(address: &Address) -> String {
    let plain = |text: &str| text.replace(['{', '}', ',', '=', '"'], "_");
    let mut name = plain(&address.name);
    for (at, (key, value)) in address.labels.iter().enumerate() {
        let begin = if at == 0 { '{' } else { ',' };
        // Writing to a string never fails.
        let _ = write!(name, "{begin}{}={}", plain(key), plain(value));
    }
    if !address.labels.is_empty() {
        name.push('}');
    }
    name
}

fn seconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string()
}

fn form(pprof: &[u8]) -> Vec<u8> {
    let bytes = |name: &str, units: &str, aggregation: &str| json!({"display-name": name, "units": units, "aggregation": aggregation, "sampled": false});
    let types = json!({
        "cpu": {"display-name": "cpu", "units": "nanoseconds", "aggregation": "sum", "sampled": false},
        "wall": bytes("wall", "nanoseconds", "sum"),
        "alloc_space": bytes("alloc_space", "bytes", "sum"),
        "alloc_objects": bytes("alloc_objects", "objects", "sum"),
        "inuse_space": bytes("inuse_space", "bytes", "average"),
        "peak_space": bytes("peak_space", "bytes", "average"),
    });
    let mut body = Vec::with_capacity(pprof.len() + 2048);
    for (name, file, content) in [
        ("profile", "profile.pprof", pprof),
        ("sample_type_config", "sample_type_config.json", types.to_string().as_bytes()),
    ] {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_leads_to_ingest() {
        assert_eq!(url("http://h:4040"), Ok("http://h:4040/ingest".to_owned()));
        assert_eq!(url("https://h/"), Ok("https://h/ingest".to_owned()));
        assert_eq!(url("https://h/a/ingest"), Ok("https://h/a/ingest".to_owned()));
        for wrong in ["", "h:4040", "ftp://h", "http://", "http:///x", "http://h/?a", "http://h x"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_stand_in_braces_and_cannot_leave_them() {
        let labels = BTreeMap::from([("env".to_owned(), "a},b=c".to_owned()), ("host".to_owned(), "n".to_owned())]);
        let address = Address { name: "shop".to_owned(), labels, ..Address::default() };
        assert_eq!(application(&address), "shop{env=a__b_c,host=n}");
        assert_eq!(application(&Address { name: "shop".to_owned(), ..Address::default() }), "shop");
    }
}
