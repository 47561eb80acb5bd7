//! Quantiles of samples and plots, for the reports of the simulator and the benchmarks.

mod axis;
mod plot;
mod samples;

pub use axis::{Axis, Scale};
pub use plot::{Plot, Series, Style, side_by_side};
pub use samples::Samples;
