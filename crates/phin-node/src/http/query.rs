//! What follows the `?` of a request.

use phin::Filter;

use super::refusal::Refusal;

/// The values of parameters that may be there once, and of those that may be there several times.
type Values<const N: usize, const M: usize> = ([Option<String>; N], [Vec<String>; M]);

/// The filter of a request; without one, the filter that holds for all members.
pub(super) fn filter(query: Option<&str>) -> Result<Filter, Refusal> {
    let [filter] = parameters(query, ["filter"])?;
    parse_filter(filter)
}

/// The filter in a parameter.
pub(super) fn parse_filter(filter: Option<String>) -> Result<Filter, Refusal> {
    let filter = filter.unwrap_or_default().parse::<Filter>();
    filter.map_err(|error| Refusal::invalid(error.to_string()))
}

/// The values of these parameters; each may be there once, and no other.
pub(super) fn parameters<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Result<[Option<String>; N], Refusal> {
    Ok(with_repeated(query, names, [])?.0)
}

/// The values of these parameters, and of those that may be there several times.
pub(super) fn with_repeated<const N: usize, const M: usize>(
    query: Option<&str>,
    once: [&str; N],
    repeated: [&str; M],
) -> Result<Values<N, M>, Refusal> {
    let (mut values, mut several) = ([const { None }; N], [const { Vec::new() }; M]);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let place_in = |names: &[&str]| names.iter().position(|allowed| *allowed == name);
        match (place_in(&once), place_in(&repeated)) {
            (Some(place), _) if values[place].is_none() => values[place] = Some(value.into_owned()),
            (None, Some(place)) => several[place].push(value.into_owned()),
            _ => {
                let allowed = once.join(", ");
                let often = if M == 0 { "" } else { "; several times: " };
                let error = format!(
                    "unexpected parameter {name:?}; allowed once each: {allowed}{often}{}",
                    repeated.join(", ")
                );
                return Err(Refusal::invalid(error));
            }
        }
    }
    Ok((values, several))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_read_once_and_nothing_else_is() {
        let read = |query| parameters(query, ["prefix", "filter"]).ok();
        assert_eq!(read(None), Some([None, None]));
        let filter = Some("role=web|api,zone!=b".to_owned());
        assert_eq!(read(Some("filter=role%3Dweb%7Capi,zone!=b")), Some([None, filter]));
        assert_eq!(read(Some("prefix=a%2F")), Some([Some("a/".to_owned()), None]));
        for query in ["filer=role%3Dweb", "prefix=a&prefix=b"] {
            assert_eq!(read(Some(query)), None, "{query}");
        }
    }

    #[test]
    fn some_parameters_may_be_there_several_times() {
        let ([filter], [topics]) =
            with_repeated(Some("topic=a&filter=b&topic=c%2Fd"), ["filter"], ["topic"]).unwrap();
        assert_eq!((filter.as_deref(), &*topics), (Some("b"), &["a".into(), "c/d".into()][..]));
        assert!(with_repeated(Some("filter=a&filter=b"), ["filter"], ["topic"]).is_err());
    }
}
