use super::*;

#[test]
fn a_collector_has_an_address_of_plain_http() {
    let url = |text: &str| text.parse::<Url>().map(|url| url.to_string());
    let with_path = Ok("http://127.0.0.1:4318/v1/traces".to_owned());
    assert_eq!(url("http://127.0.0.1:4318"), with_path);
    assert_eq!(url("http://127.0.0.1:4318/"), with_path);
    assert_eq!(url("http://c:1/own/path"), Ok("http://c:1/own/path".to_owned()));
    for refused in ["https://127.0.0.1:4318", "127.0.0.1:4318", "ftp://a", "http://", ""] {
        assert!(url(refused).is_err_and(|error| error.contains("collector")), "{refused}");
    }
}
