//! Golden bytes out, tables of bodies in.

mod decoding;
mod encoding;
mod extension;
mod generation;
mod platforms;
mod tools;
