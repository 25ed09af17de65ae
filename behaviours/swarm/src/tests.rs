//! Real swarms over memory with Noise and yamux, in virtual time: two honest nodes, or one and a
//! hostile peer. One test of each half runs over TCP on loopback, in real time.

mod channels;
mod hostile;
mod lab;
mod messages;
mod plane;
mod toy;
