//! What the builds for tests have in the place of std's atomics, as far as it is the same for all of them.

/// Types with the names of std's atomics, each around the atomic that it stands for. What can be done with
/// them is said by the macro `$access`: it gets for each type its sort (`flag`, `number` or `pointer`), its
/// name and what it holds.
macro_rules! stand_ins {
    ($access:ident) => {
        stand_ins! { $access;
            flag AtomicBool, bool;
            number AtomicI64, i64;
            number AtomicU8, u8;
            number AtomicU32, u32;
            number AtomicU64, u64;
            number AtomicUsize, usize;
            pointer AtomicPtr<T>, *mut T;
        }
    };
    ($access:ident; $($sort:ident $name:ident $(<$of:ident>)?, $value:ty;)*) => {$(
        #[derive(Debug)]
        #[repr(transparent)]
        pub(crate) struct $name$(<$of>)?(std::sync::atomic::$name$(<$of>)?);

        impl$(<$of>)? $name$(<$of>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(std::sync::atomic::$name::new(value))
            }
        }

        impl$(<$of>)? Default for $name$(<$of>)? {
            fn default() -> Self {
                Self(std::sync::atomic::$name::default())
            }
        }

        $access! { $sort $name $(<$of>)?, $value }
    )*};
}

/// An access that is std's own behind a reference: to take that reference is to pass a point first. What that
/// is says the function `point` beside the call.
#[cfg(any(jitter, shuttle))]
macro_rules! pointed {
    ($sort:ident $name:ident $(<$of:ident>)?, $value:ty) => {
        impl$(<$of>)? Deref for $name$(<$of>)? {
            type Target = atomic::$name$(<$of>)?;

            fn deref(&self) -> &Self::Target {
                point();
                &self.0
            }
        }
    };
}
