//! Recordings of people on virtual time, opened by ffmpeg and by a decoder of our own.

mod cost;
mod cuts;
mod drift;
mod file;
mod garbage;
mod people;
mod pictures;
mod sound;
mod sync;
