//! Laws of the reports, over profiles made by hand.

mod profiles;
