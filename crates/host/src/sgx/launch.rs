//! Running an `.sgxs` file behind frames, on any loader that Fortanix's runner takes.
//!
//! The enclave runs on a thread of its own. Its standard input and output are pipes in this process,
//! and it gets no other stream: a program that tries to connect or to listen is refused.

use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use baton_attest::identity::encode;
use baton_enclave::link::{HEADER_LEN, Opened, Opening};
use baton_enclave::sim::Image;
use enclave_runner::stream_router::{AsyncListener, AsyncStream, StreamRouter};
use enclave_runner_sgx::EnclaveBuilder;
use sgx_isa::AttributesFlags;
use sgxs::loader::Load;

use super::pipe::{Pipe, Reader, Sink, Writer};
use crate::link::{EnclaveLink, LinkError};
use crate::seat::SeatError;

/// Largest answer that is taken from an enclave, in bytes (64 MiB).
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A running SGX enclave.
pub struct Link {
    to: Pipe,
    from: Pipe,
    runner: Option<JoinHandle<Result<(), String>>>,
}

/// Loads an image and opens it. `device` makes the loader, on the enclave's thread.
pub fn launch<L, D>(device: D, image: &Image, debug: bool, opening: &Opening) -> Result<Link, SeatError>
where
    L: Load,
    D: FnOnce() -> Result<L, String> + Send + 'static,
{
    let mut link = Link::load(device, image, debug)?;
    let answer = link.call(&encode(opening))?;
    match minicbor::decode(&answer) {
        Ok(Opened::Started) => Ok(link),
        Ok(Opened::Refused { message, damaged }) => Err(SeatError::NotStarted { message, damaged }),
        Err(e) => Err(SeatError::Unexpected { expected: "the answer to an opening", got: e.to_string() }),
    }
}

impl Link {
    /// Loads an image; nothing has been said to it yet.
    pub fn load<L, D>(device: D, image: &Image, debug: bool) -> Result<Self, LinkError>
    where
        L: Load,
        D: FnOnce() -> Result<L, String> + Send + 'static,
    {
        let (to, from) = (Pipe::default(), Pipe::default());
        let (loaded, when_loaded) = mpsc::sync_channel(1);
        let router = Streams { to: to.clone(), from: from.clone() };
        let (image, closing) = (image.clone(), from.clone());
        let runner = std::thread::Builder::new().name("enclave".into()).spawn(move || {
            let end = run(device, &image, debug, router, &loaded);
            closing.close();
            end
        });
        let runner = runner.map_err(|e| LinkError::Load(format!("no thread for it: {e}")))?;
        let link = Link { to, from, runner: Some(runner) };
        match when_loaded.recv() {
            Ok(Ok(())) => Ok(link),
            Ok(Err(e)) => Err(LinkError::Load(e)),
            Err(_) => Err(LinkError::Load("its thread died".into())),
        }
    }

    /// Why it no longer answers.
    fn ended(&mut self) -> LinkError {
        self.to.close();
        LinkError::Ended(match self.runner.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) => "it closed the link".into(),
            Some(Ok(Err(e))) => e,
            Some(Err(_)) => "its runner panicked".into(),
            None => "it had ended before".into(),
        })
    }
}

impl EnclaveLink for Link {
    fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, LinkError> {
        let len = u32::try_from(request.len()).map_err(|_| LinkError::Oversized { got: request.len(), most: u32::MAX as usize })?;
        let mut header = [0; HEADER_LEN];
        if self.runner.is_none() || !self.to.write(&len.to_le_bytes()) || !self.to.write(request) || !self.from.read_exact(&mut header) {
            return Err(self.ended());
        }
        let got = u32::from_le_bytes(header) as usize;
        if got > MAX_ANSWER_BYTES {
            // Nothing after it can be told apart.
            self.to.close();
            return Err(LinkError::Oversized { got, most: MAX_ANSWER_BYTES });
        }
        let mut answer = vec![0; got];
        match self.from.read_exact(&mut answer) {
            true => Ok(answer),
            false => Err(self.ended()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The end of its input is how the program is told to end.
        self.to.close();
        if let Some(runner) = self.runner.take() {
            let _ = runner.join();
        }
    }
}

/// Loads and runs until the enclave ends.
fn run<L, D>(device: D, image: &Image, debug: bool, router: Streams, loaded: &SyncSender<Result<(), String>>) -> Result<(), String>
where
    L: Load,
    D: FnOnce() -> Result<L, String>,
{
    let mut enclave = EnclaveBuilder::<L>::new_from_memory(&image.sgxs);
    let sigstruct = sgxs::sigstruct::read(&mut &image.sigstruct[..]).map_err(|e| format!("its SIGSTRUCT cannot be read: {e}"));
    let command = sigstruct.and_then(|s| {
        let mut attributes = s.attributes.clone();
        enclave.sigstruct(s);
        if debug {
            attributes.flags |= AttributesFlags::DEBUG;
            enclave.attributes(attributes);
        }
        let mut builder = enclave_runner::EnclaveBuilder::<_, enclave_runner::Command>::new(enclave);
        builder.stream_router(Box::new(router) as Box<dyn StreamRouter + Send + Sync>).num_worker_threads(1);
        builder.build(device()?).map_err(|e| format!("{e:#}"))
    });
    match command {
        Ok(command) => {
            let _ = loaded.send(Ok(()));
            command.run().map_err(|e| format!("{e:#}"))
        }
        Err(e) => {
            let _ = loaded.send(Err(e));
            Ok(())
        }
    }
}

/// Standard input and output, and nothing else.
struct Streams {
    to: Pipe,
    from: Pipe,
}

type Pending<'f, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'f>>;

impl StreamRouter for Streams {
    fn basic_streams(&self) -> Vec<Box<dyn AsyncStream>> {
        vec![Box::new(Reader(self.to.clone())), Box::new(Writer(self.from.clone())), Box::new(Sink)]
    }

    fn connect_stream<'f>(&'f self, _: &'f str, _: Option<&'f mut String>, _: Option<&'f mut String>) -> Pending<'f, Box<dyn AsyncStream>> {
        Box::pin(ready(Err(io::ErrorKind::PermissionDenied.into())))
    }

    fn bind_stream<'f>(&'f self, _: &'f str, _: Option<&'f mut String>) -> Pending<'f, Box<dyn AsyncListener>> {
        Box::pin(ready(Err(io::ErrorKind::PermissionDenied.into())))
    }
}
