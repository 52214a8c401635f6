//! The pages: a file each.

pub mod activate;
pub mod activation;
pub mod adapter;
pub mod app;
pub mod environments;
pub mod gateway;
pub mod home;
pub mod list;
mod parts;
pub mod picture;
pub mod register;

pub use activation::of_adapter;
pub use parts::{Link, address, moment};
