//! Writes the tables and plots of benchmark reports again, from the JSON with their samples:
//! `cargo run -p phin-bench --example redraw -- docs/benchmarks/nodes-*.json docs/benchmarks/peers-*.json`.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use phin_bench::{DataReport, Document, LoadReport, LossReport, MessageReport, Report};
use serde::de::DeserializeOwned;

fn main() -> Result<(), Box<dyn Error>> {
    for file in std::env::args().skip(1) {
        let path = Path::new(&file);
        let text = fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
        let folder = path.parent().ok_or("a file is in a folder")?;
        let name = path.file_stem().and_then(|name| name.to_str()).ok_or("a file has a name")?;
        if name.ends_with("-data") {
            read::<DataReport>(&file, &text)?.write(folder, name)?;
        } else if name.ends_with("-messages") {
            read::<MessageReport>(&file, &text)?.write(folder, name)?;
        } else if name.ends_with("-loss") {
            read::<LossReport>(&file, &text)?.write(folder, name)?;
        } else if name.contains("-load-") {
            read::<LoadReport>(&file, &text)?.write(folder, name)?;
        } else {
            let mut report: Report = read(&file, &text)?;
            let mut words = report.command.split(' ').skip_while(|word| *word != "--simulated");
            report.simulated = words.nth(1).map(PathBuf::from);
            report.write(folder, name)?;
        }
        // The samples stay as they were, digit for digit.
        fs::write(path, &text)?;
    }
    Ok(())
}

fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("{file}: {error}"))
}
