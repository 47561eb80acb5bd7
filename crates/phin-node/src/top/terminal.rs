//! The terminal: taken over, drawn on, and given back however the command ends.

use std::{
    io::{self, BufWriter, Stdout, Write},
    panic,
    sync::{Once, mpsc::SyncSender},
    thread,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, event, execute,
        terminal::{
            EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
        },
    },
    layout::Rect,
};
use rustix::process::{Signal, kill_current_process_group};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use super::{
    message::{Input, Message},
    model::Model,
    screen::{self, Theme},
};
use crate::failure::Failure;

/// The terminal while it shows the screen. Dropping it restores the terminal.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    pub(crate) fn enter() -> Result<Self, Failure> {
        restore_at_panics();
        let failed = |error| Failure::runtime("cannot use the terminal", &error);
        let screen = take_over().and_then(|()| {
            Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(BUFFER, io::stdout())))
        });
        match screen {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(failed(error))
            }
        }
    }

    pub(crate) fn size(&self) -> Result<(u16, u16), Failure> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    pub(crate) fn draw(&mut self, model: &Model, theme: Theme) -> Result<(), Failure> {
        self.terminal.draw(|frame| screen::draw(model, theme, frame.buffer_mut()))?;
        Ok(())
    }

    /// Draws everything again with the next frame.
    pub(crate) fn clear(&mut self) -> Result<(), Failure> {
        // `Terminal::clear` asks the terminal for its cursor, and the answer would arrive among the keys.
        let (width, height) = self.size()?;
        Ok(self.terminal.resize(Rect::new(0, 0, width, height))?)
    }

    /// Stops the process, as Ctrl-Z does elsewhere, and returns when it goes on.
    pub(crate) fn suspend(&mut self) -> Result<(), Failure> {
        restore();
        // The whole group, because the command may be part of a pipeline or a script. A group without a shell that could
        // continue it is not stopped (POSIX, "orphaned process group").
        let _ = kill_current_process_group(Signal::TSTP);
        self.reenter()
    }

    /// Takes the terminal over again, whatever happened to it.
    pub(crate) fn reenter(&mut self) -> Result<(), Failure> {
        // The mode that this process knows may not be that of the terminal: shells change it.
        let _ = disable_raw_mode();
        take_over()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The width of the terminal, if there is one.
pub(crate) fn width() -> Option<usize> {
    size().ok().map(|(width, _)| width.into())
}

fn take_over() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
}

/// Gives the terminal back. Errors are of no use: it may be gone.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
    let _ = io::stdout().flush();
}

/// Has a panic of any thread restore the terminal, show its message, and end the process.
fn restore_at_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            restore();
            report(panicked);
            std::process::exit(PANICKED);
        }));
    });
}

/// Forwards keys and changes of size from a thread.
pub(crate) fn forward_keys(inbox: &SyncSender<Input>) {
    let inbox = inbox.clone();
    thread::spawn(move || {
        loop {
            let input = match event::read() {
                Ok(event::Event::Key(key)) if key.is_release() => continue,
                Ok(event::Event::Key(key)) => Input::Message(Message::Key(key)),
                Ok(event::Event::Resize(width, height)) => {
                    Input::Message(Message::Resized(width, height))
                }
                // They are not enabled.
                Ok(
                    event::Event::FocusGained
                    | event::Event::FocusLost
                    | event::Event::Mouse(_)
                    | event::Event::Paste(_),
                ) => continue,
                Err(_) => Input::Ended,
            };
            let is_over = matches!(input, Input::Ended);
            if inbox.send(input).is_err() || is_over {
                return;
            }
        }
    });
}

/// Forwards signals from a thread.
pub(crate) fn forward_signals(inbox: &SyncSender<Input>) -> Result<(), Failure> {
    let failed = |error| Failure::runtime("cannot listen for signals", &error);
    let runtime = runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let (mut terminate, mut interrupt, mut hangup, mut resume) = {
        let _guard = runtime.enter();
        let listen = |kind| signal(kind).map_err(failed);
        (
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::hangup())?,
            listen(SignalKind::from_raw(Signal::CONT.as_raw()))?,
        )
    };
    let inbox = inbox.clone();
    thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                let input = tokio::select! {
                    _ = terminate.recv() => Input::Signal(15),
                    _ = interrupt.recv() => Input::Signal(2),
                    _ = hangup.recv() => Input::Signal(1),
                    _ = resume.recv() => Input::Continued,
                };
                // The channel has room again as soon as the screen is drawn.
                if inbox.send(input).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

/// Bytes of a frame that are written at once.
const BUFFER: usize = 64 * 1024;
/// The exit code of a panic.
const PANICKED: i32 = 101;
