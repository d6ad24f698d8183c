//! NVRTC: CUDA's compiler as a library.

use std::{
    ffi::{CStr, CString, OsStr},
    os::raw::{c_char, c_int},
};

use cudarc::nvrtc::{
    result::{self, NvrtcError},
    sys,
};
use kernels::device::Fault;

/// Environment variable with the path of libnvrtc.so.12, where the loader does not find it.
pub(crate) const ENV_NVRTC: &str = "RIGQUEUE_NVRTC";

/// The compiler, loaded.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    /// Its name with its version.
    pub(crate) version: String,
    /// The compute capabilities that it compiles for, as in 86.
    known: Vec<c_int>,
}

/// What a program is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The instructions of the cards of one compute capability.
    Card(i32),
    /// Instructions that the driver translates for the card.
    Virtual(i32),
}

impl Target {
    /// What the compiler is told.
    pub(crate) fn option(self) -> String {
        match self {
            Self::Card(capability) => format!("--gpu-architecture=sm_{capability}"),
            Self::Virtual(capability) => format!("--gpu-architecture=compute_{capability}"),
        }
    }
}

fn missing(why: &str) -> Fault {
    Fault::missing(format!(
        "{why}; install CUDA's libnvrtc.so.12 (it is in the PyPI package nvidia-cuda-nvrtc-cu12), \
         or set {ENV_NVRTC} to its path"
    ))
}

fn failed(error: NvrtcError) -> Fault {
    Fault::missing(format!("NVRTC failed: {error:?}"))
}

impl Compiler {
    /// Loads the compiler from this file, or from where the system's loader finds it.
    ///
    /// # Errors
    /// [`Fault::missing`] when it is not there.
    #[expect(unsafe_code, reason = "loading a library runs its initialisers; C functions")]
    pub(crate) fn load(path: Option<&OsStr>) -> Result<Self, Fault> {
        if let Some(path) = path {
            // SAFETY: the user names NVIDIA's library, whose initialisers ask nothing of us.
            let library = unsafe { libloading::Library::new(path) }
                .map_err(|error| missing(&format!("NVRTC can't be loaded: {error}")))?;
            // Loaded once it is found by its name, too: it must stay.
            std::mem::forget(library);
        }
        // SAFETY: as above; whatever is found by this name is NVIDIA's.
        if !unsafe { sys::is_culib_present() } {
            return Err(missing("there is no NVRTC, CUDA's compiler, on this node"));
        }
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: each function writes one number, and the last as many as the one before it says.
        let known = unsafe {
            sys::nvrtcVersion(&raw mut major, &raw mut minor).result().map_err(failed)?;
            sys::nvrtcGetNumSupportedArchs(&raw mut count).result().map_err(failed)?;
            let mut known = vec![0; usize::try_from(count).unwrap_or_default()];
            sys::nvrtcGetSupportedArchs(known.as_mut_ptr()).result().map_err(failed)?;
            known
        };
        Ok(Self { version: format!("NVRTC {major}.{minor}"), known })
    }

    /// What to compile for on a card of this compute capability: a card that is newer than the
    /// compiler takes the newest that it knows, by way of the driver.
    ///
    /// # Errors
    /// [`Fault::missing`] when the card is older than all that the compiler knows.
    pub(crate) fn target(&self, capability: i32) -> Result<Target, Fault> {
        if self.known.contains(&capability) {
            return Ok(Target::Card(capability));
        }
        let newest = self.known.iter().copied().filter(|&known| known < capability).max();
        newest.map(Target::Virtual).ok_or_else(|| {
            missing(&format!(
                "{} does not know cards of compute capability {capability}",
                self.version
            ))
        })
    }

    /// Compiles a program to a cubin, or to PTX for a virtual target.
    ///
    /// # Errors
    /// [`Fault::uncompiled`] with what the compiler says.
    pub(crate) fn compile(&self, source: &str, target: Target) -> Result<Vec<u8>, Fault> {
        let source = CString::new(source).map_err(|error| Fault::uncompiled(error.to_string()))?;
        let program = Program::new(&source)?;
        program.compile(&target.option())?;
        match target {
            Target::Card(_) => program.cubin(),
            Target::Virtual(_) => program.ptx(),
        }
        .map_err(failed)
    }
}

/// A program of NVRTC, which is freed at the end.
struct Program<'a> {
    program: sys::nvrtcProgram,
    _source: &'a CStr,
}

impl<'a> Program<'a> {
    fn new(source: &'a CStr) -> Result<Self, Fault> {
        let program = result::create_program(source, Some(c"sieve.cu")).map_err(failed)?;
        Ok(Self { program, _source: source })
    }

    #[expect(unsafe_code, reason = "C functions")]
    fn compile(&self, option: &str) -> Result<(), Fault> {
        // SAFETY: the program was created and is not freed yet.
        unsafe { result::compile_program(self.program, &[option]) }.map_err(|error| {
            // SAFETY: as above.
            let log = unsafe { result::get_program_log(self.program) }.unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(c_char::cast_unsigned).collect();
            let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
            Fault::uncompiled(format!("NVRTC does not compile the sieve: {error:?} {log}"))
        })
    }

    #[expect(unsafe_code, reason = "C functions")]
    fn cubin(&self) -> Result<Vec<u8>, NvrtcError> {
        let mut length = 0;
        // SAFETY: the program was compiled for a card, and the second function writes as many bytes
        // as the first says.
        unsafe {
            sys::nvrtcGetCUBINSize(self.program, &raw mut length).result()?;
            let mut cubin = vec![0_u8; length];
            sys::nvrtcGetCUBIN(self.program, cubin.as_mut_ptr().cast::<c_char>()).result()?;
            Ok(cubin)
        }
    }

    /// With the NUL that the driver wants at its end.
    #[expect(unsafe_code, reason = "a C function")]
    fn ptx(&self) -> Result<Vec<u8>, NvrtcError> {
        // SAFETY: the program was compiled and is not freed yet.
        let ptx = unsafe { result::get_ptx(self.program) }?;
        Ok(ptx.into_iter().map(c_char::cast_unsigned).collect())
    }
}

impl Drop for Program<'_> {
    #[expect(unsafe_code, reason = "a C function")]
    fn drop(&mut self) {
        // SAFETY: the program was created, and this is its end. What would be left is its memory.
        unsafe { result::destroy_program(self.program) }.ok();
    }
}
