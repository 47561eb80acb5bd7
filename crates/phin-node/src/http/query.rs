//! What follows the `?` of a request.

use phin::Filter;

use super::refusal::Refusal;

/// The filter of a request; without one, the filter that holds for all members.
pub(super) fn filter(query: Option<&str>) -> Result<Filter, Refusal> {
    let mut filter = None;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "filter" || filter.is_some() {
            let error = format!("unexpected parameter {name:?}; one `filter` is allowed");
            return Err(Refusal::invalid(error));
        }
        let parsed = value.parse::<Filter>();
        filter = Some(parsed.map_err(|error| Refusal::invalid(error.to_string()))?);
    }
    Ok(filter.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_and_nothing_else_is() {
        let read = |query| filter(query).map(|filter| filter.to_string()).ok();
        assert_eq!(read(None).as_deref(), Some(""));
        assert_eq!(
            read(Some("filter=role%3Dweb%7Capi,zone!=b")).as_deref(),
            Some("role=web|api,zone!=b")
        );
        for query in ["filer=role%3Dweb", "filter=role", "filter=a%3Db&filter=c%3Dd"] {
            assert_eq!(read(Some(query)), None, "{query}");
        }
    }
}
