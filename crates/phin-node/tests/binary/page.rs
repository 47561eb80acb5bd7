//! The web page, in Chromium: what it shows of real nodes, and of a list too long for real ones.
//!
//! `UPDATE_SCREENSHOTS=1` writes the pictures of the guide.

mod many;

use std::{fs, path::Path, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    browser::{Browser, Tab},
    harness::{Node, ask, phin, request},
};
use many::Many;

/// The row of a member in the table.
fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#space .row')].find(row => row.member.name === {})",
        json!(name)
    )
}

/// Whether the table shows this state of a member.
fn shows(name: &str, state: &str) -> String {
    format!("{}.textContent.includes({})", row(name), json!(state))
}

fn alive(count: usize) -> String {
    format!("document.querySelector('[data-chip=alive] b').textContent === '{count}'")
}

fn url(node: &Node) -> String {
    format!("http://{}/", node.http)
}

fn page_of(node: &Node) -> crate::harness::Answer {
    let raw = format!("GET / HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\n\r\n", node.http);
    request(&node.http, &raw)
}

#[test]
fn the_page_is_sent_to_browsers_with_a_strict_policy() {
    let n1 = Node::start(&["--name", "its-own-name"]);
    let page = page_of(&n1);
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("<!doctype html>"));
    for header in [
        "content-type: text/html; charset=utf-8\r\n",
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff\r\n",
        "referrer-policy: no-referrer\r\n",
        "cache-control: no-cache\r\n",
        "vary: accept\r\n",
        "etag: \"sha256-",
    ] {
        assert!(page.head.contains(header), "{header} {}", page.head);
    }
    assert!(!page.head.contains("unsafe"), "{}", page.head);
    assert!(!page.body.contains("its-own-name"), "the page has no data");
    let index = n1.get("/");
    assert!(index.json()["paths"].is_array());
    assert!(index.head.contains("cache-control: no-store\r\n"), "{}", index.head);
}

#[test]
fn the_page_follows_a_death() {
    let Some(mut browser) = Browser::start() else { return };
    let n1 = Node::start(&["--name", "n1", "--tag", "zone=a"]);
    let hostile = "<img/src=x/onerror=alert(1)>";
    let tag = "note=</script><script>alert(2)</script>";
    let n2 = Node::start(&["--name", hostile, "--tag", tag, "--tag", "zone=b", "--join", &n1.addr]);
    let _n3 = Node::start(&["--name", "n3", "--tag", "role=web|db", "--join", &n1.addr]);
    let mut n4 = Node::start(&["--name", "n4", "--tag", "zone=b", "--join", &n1.addr]);
    assert_eq!(ask(&n2, "PUT", "/v1/data/http", "<b>10.0.0.2:80</b>").status, 200);
    let tab = browser.open(&url(&n1));
    browser.until(&tab, "showing all", &alive(4));

    // Names, tags and data of others are text.
    browser.until(&tab, "showing a hostile tag", &shows(hostile, tag));
    browser.value(&tab, &format!("{}.click()", row(hostile)));
    browser.until(
        &tab,
        "showing data",
        "document.querySelector('#data-list').textContent.includes('<b>10.0.0.2:80</b>')",
    );
    browser.until(&tab, "drawing rings", "document.querySelectorAll('#ring .chord').length === 3");
    let made = "document.querySelectorAll('main img, main script, #data-list b, [onerror]').length";
    assert_eq!(browser.value(&tab, made), 0);

    // Its filter is that of the interface.
    for filter in
        ["zone=b", "zone=a|b", "zone!=b", "zone=b,note!=x", "note=x", "role=web", "zone=a|", ""]
    {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
        let expected =
            n1.get(&format!("/v1/members?{query}")).json()["members"].as_array().unwrap().len();
        let typed = format!(
            "$('filter').value = {}; $('filter').dispatchEvent(new Event('input'))",
            json!(filter)
        );
        browser.value(&tab, &typed);
        let found = format!("document.querySelectorAll('#space .row').length === {expected}");
        browser.until(&tab, &format!("showing {expected} for {filter:?}"), &found);
    }

    // A stopped process is suspect for as long as a hung one is given, and the votes are shown.
    browser.value(&tab, &format!("{}.click()", row("n4")));
    n4.stop();
    browser.until(&tab, "suspecting n4", &shows("n4", "suspect"));
    browser.until(
        &tab,
        "showing votes",
        "document.querySelectorAll('#votes tbody tr').length === 3",
    );
    browser.until(
        &tab,
        "drawing votes",
        "document.querySelectorAll('#ring .chord.vote').length > 1",
    );
    browser.until(&tab, "showing phi", "parseFloat($('gauge-phi').textContent.slice(4)) > 2");
    n4.signal(Signal::KILL);
    n4.wait();
    browser.until(&tab, "declaring n4 dead", &shows("n4", "dead"));
    browser.until(&tab, "saying why", "$('why-text').textContent.includes('Declared dead')");
    browser.until(&tab, "listing the death", "$('events').firstChild.textContent.includes('dead') && $('events').firstChild.textContent.includes('n4')");
    browser.until(&tab, "naming it in the title", "document.title.startsWith('(1 dead)')");
    assert_eq!(browser.problems(), [""; 0]);
}

/// The tab that reads the stream. Two that began at once settle it between them.
fn the_leader(browser: &mut Browser, tabs: &[Tab]) -> usize {
    let mut leaders = Vec::new();
    for _ in 0..1_000 {
        let leads = |tab: &usize| browser.value(&tabs[*tab], "leading !== null") == true;
        leaders = (0..tabs.len()).filter(leads).collect();
        if let [leader] = leaders[..] {
            return leader;
        }
    }
    panic!("{leaders:?} read the stream");
}

#[test]
fn ten_tabs_share_one_stream() {
    let Some(mut browser) = Browser::start() else { return };
    let n1 = Node::start(&["--name", "n1"]);
    let _n2 = Node::join("n2", &n1);
    let mut tabs: Vec<Tab> = (0..10).map(|_| browser.open(&url(&n1))).collect();
    for tab in &tabs {
        browser.until(tab, "showing both", &alive(2));
    }
    let mut n3 = Node::join("n3", &n1);
    for tab in &tabs {
        browser.until(tab, "showing n3", &shows("n3", "alive"));
    }

    // Another one reads it once the first is closed, and once one leaves without a word.
    let closed = tabs.remove(the_leader(&mut browser, &tabs));
    browser.close(&closed);
    n3.signal(Signal::KILL);
    n3.wait();
    for tab in &tabs {
        browser.until(tab, "showing the death of n3", &shows("n3", "dead"));
    }
    let silent = tabs.remove(the_leader(&mut browser, &tabs));
    browser.value(&silent, "channel.close(), post = () => {}, leading.abort()");
    let _n4 = Node::join("n4", &n1);
    for tab in &tabs {
        browser.until(tab, "showing n4", &shows("n4", "alive"));
        // Nobody read the stream when it joined.
        let told = "/n4|not seen/.test($('events').textContent)";
        browser.until(tab, "listing the change", told);
    }
    the_leader(&mut browser, &tabs);
    browser.close(&silent);
    assert_eq!(browser.problems(), [""; 0]);
}

#[test]
fn the_page_asks_for_the_token_and_keeps_it() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.token");
    let path = path.to_str().unwrap();
    assert!(crate::harness::output_of(&["key", "token", "--out", path]).status.success());
    let token = fs::read_to_string(path).unwrap();
    let n1 = Node::start(&["--name", "n1", "--http-token-file", path]);
    let tab = browser.open(&url(&n1));
    let give = |token: &str| {
        format!("$('ask-token').value = {}; $('ask-form').requestSubmit()", json!(token.trim()))
    };
    browser.until(&tab, "asking for a token", "!$('ask').hidden && $('ask-wrong').hidden");
    browser.value(&tab, &give("0123456789abcdef"));
    browser.until(&tab, "refusing another token", "!$('ask').hidden && !$('ask-wrong').hidden");
    assert_eq!(browser.value(&tab, "members.size"), 0);
    browser.value(&tab, &give(&token));
    browser.until(&tab, "showing n1", &shows("n1", "alive"));
    browser.reload(&tab);
    browser.until(&tab, "showing n1 again", &shows("n1", "alive"));
    // Another tab is another session.
    let other = browser.open(&url(&n1));
    browser.until(&other, "asking for a token", "!$('ask').hidden");
    let unexpected: Vec<_> =
        browser.problems().iter().filter(|problem| !problem.contains("status of 401")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

#[test]
fn the_page_says_that_its_node_is_gone_and_goes_on_with_the_next() {
    let Some(mut browser) = Browser::start() else { return };
    let mut n1 = Node::start(&["--name", "n1"]);
    let tab = browser.open(&url(&n1));
    browser.until(&tab, "showing n1", &shows("n1", "alive"));
    n1.signal(Signal::KILL);
    n1.wait();
    browser.until(&tab, "saying that it is gone", "$('banner').textContent.includes('does not answer') && document.body.classList.contains('stale')");
    browser.until(
        &tab,
        "keeping what it knew, with its age",
        &format!("{} && $('banner').textContent.includes(' old.')", row("n1")),
    );
    let _next = Node::start_at(&n1.http, &["--name", "next"]);
    browser.until(&tab, "showing the next", &shows("next", "alive"));
    browser.until(
        &tab,
        "being live",
        "$('banner').hidden && !document.body.classList.contains('stale')",
    );
    // The next node does not know the members of the one before.
    let expected = ["net::ERR_", "status of 404"];
    let is_expected = |problem: &&String| expected.iter().any(|text| problem.contains(text));
    let unexpected: Vec<_> = browser.problems().iter().filter(|one| !is_expected(one)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

#[test]
fn five_thousand_members_take_few_rows() {
    let Some(mut browser) = Browser::start() else { return };
    let many = Many::start(5_000);
    let tab = browser.open(&many.url());
    browser.until(
        &tab,
        "showing all",
        "document.querySelector('[data-chip=all] b').textContent === '5,000'",
    );
    browser.until(
        &tab,
        "sorting by trouble",
        "document.querySelector('#space .row').textContent.includes('dead')",
    );
    let few = "document.querySelectorAll('#space .row').length < 60";
    browser.until(&tab, "few rows", few);
    browser.value(&tab, "$('rows').scrollTop = 28 * 2500");
    browser.until(
        &tab,
        "showing the middle",
        "[...document.querySelectorAll('#space .row')].some(row => row.id === 'row-2500')",
    );
    browser.until(&tab, "few rows", few);
    browser.value(
        &tab,
        "$('filter').value = 'api-6 zone=b'; $('filter').dispatchEvent(new Event('input'))",
    );
    browser.value(
        &tab,
        "$('filter').value = 'zone=b,role=web'; $('filter').dispatchEvent(new Event('input'))",
    );
    let expected =
        many.count(|member| member["tags"]["zone"] == "b" && member["tags"]["role"] == "web");
    browser.until(&tab, "filtering", &format!("order.length === {expected}"));
    browser.value(&tab, "$('filter').value = ''; $('filter').dispatchEvent(new Event('input'))");
    browser.value(
        &tab,
        "$('rows').scrollTop = 0; select(order.find(member => member.state === 'alive').id)",
    );
    browser.until(&tab, "drawing rings", "document.querySelectorAll('#ring .dot').length > 8");
    assert_eq!(browser.problems(), [""; 0]);
    if is_updating() {
        browser.shape(&tab, (1_020, 580), "dark");
        keep(&mut browser, &tab, "web-page-5000.png");
    }
}

/// The pictures of a cluster in which a member dies. It asserts nothing that other tests do not.
#[test]
fn pictures_of_a_dying_member() {
    if !is_updating() {
        return;
    }
    let Some(mut browser) = Browser::start() else { return };
    let start = |name: &str, zone: &str, seed: Option<&Node>| {
        let role = name.split_once('-').unwrap().0;
        let (role, zone) = (format!("role={role}"), format!("zone={zone}"));
        let mut arguments =
            vec!["--name", name, "--cluster", "orders", "--tag", &role, "--tag", &zone];
        arguments.extend(seed.iter().flat_map(|seed| ["--join", &seed.addr]));
        Node::start(&arguments)
    };
    let first = start("api-1", "a", None);
    let others = [("api-2", "b"), ("db-1", "a"), ("db-2", "b"), ("web-1", "a"), ("web-2", "b")];
    let mut others = others.map(|(name, zone)| start(name, zone, Some(&first)));
    assert_eq!(ask(&others[0], "PUT", "/v1/serving", "{\"state\":\"draining\"}").status, 200);
    assert_eq!(ask(&others[2], "PUT", "/v1/data/postgres/primary", "10.0.0.4:5432").status, 200);
    let tab = browser.open(&url(&first));
    browser.shape(&tab, (1_020, 740), "light");
    browser.until(&tab, "showing all", &alive(6));
    let _late = start("web-3", "c", Some(&first));
    browser.until(&tab, "showing the last", &alive(7));
    browser.value(&tab, &format!("{}.click()", row("db-2")));
    browser.until(&tab, "showing data", "$('data-list').textContent.includes('postgres')");
    let mut lead = phin(&["lead", "scheduler", "--http", &first.http, "--", "/bin/sleep", "600"]);
    let mut lead = lead.stderr(Stdio::null()).spawn().unwrap();
    browser.until(&tab, "showing the office", "$('offices').textContent.includes('held by')");
    browser.until(&tab, "a chart", "(phis.get(selected) ?? []).length > 15");
    others[2].stop();
    browser.until(&tab, "a while of silence", "why.suspicion.silent_ms > 3000");
    keep(&mut browser, &tab, "web-page.png");
    browser.shape(&tab, (360, 720), "dark");
    browser.value(&tab, "scrollTo(0, 0)");
    keep(&mut browser, &tab, "web-page-phone.png");
    others[2].signal(Signal::KILL);
    others[2].wait();
    browser.until(&tab, "saying why", "$('why-text').textContent.includes('Declared dead')");
    kill_process(Pid::from_child(&lead), Signal::TERM).unwrap();
    lead.wait().unwrap();
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_SCREENSHOTS").is_some()
}

fn keep(browser: &mut Browser, tab: &Tab, name: &str) {
    let picture = browser.picture(tab);
    assert!(picture.len() < 128 * 1_024, "{name} has {} bytes", picture.len());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/images");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), picture).unwrap();
}
