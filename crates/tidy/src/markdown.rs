//! Tables in Markdown.

use crate::File;

/// A row of a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Its cells, without backticks.
    pub cells: Vec<String>,
    /// On which line it stands.
    pub line: usize,
}

/// The rows of the first table under this heading, without its head, and the heading's line; `None` without heading.
pub fn table(file: &File, heading: &str) -> Option<(usize, Vec<Row>)> {
    let mut lines = file.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (heading_line, _) = lines.find(|&(_, line)| line == heading)?;
    let rows = lines
        .take_while(|(_, line)| !line.starts_with("## "))
        .skip_while(|(_, line)| !line.starts_with('|'))
        .take_while(|(_, line)| line.starts_with('|'))
        .skip(2);
    Some((heading_line, rows.map(|(line, text)| Row { cells: cells(text), line }).collect()))
}

fn cells(row: &str) -> Vec<String> {
    let cells = row.trim().trim_matches('|').split('|');
    cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_table_under_a_heading_is_read() {
        let text = "# T\n\n## A\n\nText.\n\n| H | K |\n|---|---|\n| `x` | 1 |\n\n| no |\n\n## B\n";
        let file = File { path: "t.md".to_owned(), text: text.to_owned() };
        let row = Row { cells: vec!["x".to_owned(), "1".to_owned()], line: 9 };
        assert_eq!(table(&file, "## A"), Some((3, vec![row])));
        assert_eq!(table(&file, "## B"), Some((13, vec![])));
        assert_eq!(table(&file, "## C"), None);
    }
}
