//! A TCP proxy that does to a link what networks do: cut, delay, slice, swallow.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// What the link does with what passes through it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Holds each piece back.
    Delay(Duration),
    /// Passes a few bytes at a time.
    Slice,
    /// Takes everything and passes nothing on; what was taken arrives when the fault ends.
    BlackHole,
    /// Passes requests, swallows the answers.
    SwallowAnswers,
    /// Refuses: new connections are closed at once.
    Refuse,
}

/// A proxy on a port of its own. Its threads end with the process.
#[derive(Clone)]
pub struct Proxy {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Mutex<Fault>,
    target: Mutex<SocketAddr>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::None),
            target: Mutex::new(target),
            open: Mutex::default(),
        });
        let proxy = Self { addr, shared };
        let acceptor = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                if *acceptor.shared.fault.lock().unwrap() != Fault::Refuse {
                    acceptor.connect(&client);
                }
            }
        });
        proxy
    }

    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Ends all connections, with a reset where data are on their way.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn connect(&self, client: &TcpStream) {
        let target = *self.shared.target.lock().unwrap();
        let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_millis(500)) else {
            return;
        };
        let ended = Arc::new(AtomicBool::new(false));
        for (from, to, answers) in [(client, &server, false), (&server, client, true)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            from.set_nodelay(true).unwrap();
            from.set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            self.shared
                .open
                .lock()
                .unwrap()
                .push(from.try_clone().unwrap());
            let (shared, ended) = (self.shared.clone(), ended.clone());
            thread::spawn(move || {
                pump(&shared, &from, &to, answers, &ended);
                ended.store(true, Ordering::Relaxed);
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
    }
}

fn pump(
    shared: &Shared,
    mut from: &TcpStream,
    mut to: &TcpStream,
    answers: bool,
    ended: &AtomicBool,
) {
    let mut buffer = [0; 16 * 1024];
    while !ended.load(Ordering::Relaxed) {
        let read = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        let fault = || *shared.fault.lock().unwrap();
        let holds = || match fault() {
            Fault::BlackHole => true,
            Fault::SwallowAnswers => answers,
            _ => false,
        };
        while holds() && !ended.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        let piece = match fault() {
            Fault::Delay(time) => {
                thread::sleep(time);
                read
            }
            Fault::Slice => 3,
            _ => read,
        };
        for slice in buffer[..read].chunks(piece) {
            if to.write_all(slice).is_err() {
                return;
            }
            if piece < read && fault() == Fault::Slice {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}
