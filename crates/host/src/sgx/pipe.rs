//! A byte pipe inside the process: one end blocks (the host's thread), the other is polled (the runner).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A pipe; clones are the same one.
#[derive(Clone, Default)]
pub struct Pipe(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    closed: bool,
    reader: Option<Waker>,
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and a queue of bytes is whole at any time.
        self.0.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wake(&self, state: &mut State) {
        state.reader.take().into_iter().for_each(Waker::wake);
        self.0.changed.notify_all();
    }

    /// Puts bytes in; false if the pipe is closed.
    pub fn write(&self, bytes: &[u8]) -> bool {
        let mut state = self.state();
        if !state.closed {
            state.bytes.extend(bytes);
            self.wake(&mut state);
        }
        !state.closed
    }

    /// Takes exactly so many bytes out; false if the pipe closed before.
    pub fn read_exact(&self, out: &mut [u8]) -> bool {
        let (mut state, mut got) = (self.state(), 0);
        while got < out.len() {
            if state.bytes.is_empty() {
                if state.closed {
                    return false;
                }
                state = self.0.changed.wait(state).unwrap_or_else(|e| e.into_inner());
                continue;
            }
            got += take(&mut state.bytes, &mut out[got..]);
        }
        true
    }

    /// No more bytes come; those that are in it can still be read.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.wake(&mut state);
    }
}

fn take(from: &mut VecDeque<u8>, out: &mut [u8]) -> usize {
    let (front, _) = from.as_slices();
    let n = front.len().min(out.len());
    out[..n].copy_from_slice(&front[..n]);
    from.drain(..n);
    n
}

/// The end that the enclave reads.
pub struct Reader(pub Pipe);

/// The end that the enclave writes.
pub struct Writer(pub Pipe);

/// What is written here is dropped.
pub struct Sink;

fn wrong_way() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.bytes.is_empty() && !state.closed {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = take(&mut state.bytes, buf.initialize_unfilled());
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(if self.0.write(bytes) { Ok(bytes.len()) } else { Err(wrong_way()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The other direction of each end fails.
macro_rules! no_write {
    ($name:ty) => {
        impl AsyncWrite for $name {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Err(wrong_way()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Err(wrong_way()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Err(wrong_way()))
            }
        }
    };
}

macro_rules! no_read {
    ($($name:ty),*) => {$(
        impl AsyncRead for $name {
            fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Err(wrong_way()))
            }
        }
    )*};
}

no_write!(Reader);
no_read!(Writer, Sink);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_the_close_is_still_read() {
        let p = Pipe::default();
        assert!(p.write(b"abc"));
        p.close();
        let mut out = [0; 3];
        assert!(p.read_exact(&mut out));
        assert_eq!(&out, b"abc");
        assert!(!p.read_exact(&mut out[..1]));
        assert!(!p.write(b"x"), "a closed pipe takes nothing");
    }

    #[test]
    fn a_reader_that_waits_is_woken_by_a_write_and_by_a_close() {
        let p = Pipe::default();
        let (q, mut out) = (p.clone(), [0; 2]);
        let writer = std::thread::spawn(move || {
            q.write(b"a");
            q.write(b"b");
            q.close();
        });
        assert!(p.read_exact(&mut out));
        assert!(!p.read_exact(&mut [0]));
        writer.join().unwrap();
    }
}
