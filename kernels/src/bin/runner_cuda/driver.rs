//! CUDA's driver through `cudarc`, which loads it when it is first used.

use std::{env, sync::Arc};

use cudarc::{
    driver::{
        CudaContext, CudaFunction, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
        result, sys,
    },
    nvrtc::Ptx,
};
use kernels::device::{
    self, Cache, Driver, EXAMINERS, FOUND_LENGTH, Fault, GROUP, KeyParts, Language, Launch, Loaded,
    Plan, QUEUE_LENGTH, Report, Seen,
};
use shared::job::MAX_CANDIDATES;

use crate::compiler::{Compiler, ENV_NVRTC, Target};

/// The first GPU that CUDA shows this process.
pub(crate) struct Cuda {
    context: Arc<CudaContext>,
    name: String,
    target: Target,
    compiler: Compiler,
    cache: Cache,
}

impl Cuda {
    /// Finds the device, and the compiler for it. Where this process was given one, it must be
    /// that one and the only one.
    ///
    /// # Errors
    /// [`Fault::missing`] when the driver, a device or the compiler is missing, or it is another
    /// device; [`Fault::lost`] when the given one is gone.
    #[expect(unsafe_code, reason = "loading a library, and a C function")]
    pub(crate) fn open(cache: Cache) -> Result<Self, Fault> {
        // SAFETY: whatever is found by this name is NVIDIA's, and asks nothing of who loads it.
        if !unsafe { sys::is_culib_present() } {
            return Err(Fault::missing(
                "there is no CUDA driver (libcuda.so) on this node; install NVIDIA's driver"
                    .to_owned(),
            ));
        }
        let compiler = Compiler::load(env::var_os(ENV_NVRTC).as_deref())?;
        let none = |error: DriverError| {
            Fault::missing(format!("no CUDA device can be had on this node: {error}"))
        };
        let given = device::given();
        match (result::init(), &given) {
            // The driver works, and what it was to show is not there.
            (Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)), Some(given)) => {
                device::find(given, &[])?;
            }
            (done, _) => done.map_err(none)?,
        }
        if let Some(given) = given {
            device::find(&given, &seen().map_err(none)?)?;
        }
        let device = result::device::get(0).map_err(none)?;
        let blocking = sys::CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;
        // Twelve runners that spin would be too much for a rig's small processor.
        // SAFETY: the driver is initialised and has just named the device.
        unsafe { sys::cuDevicePrimaryCtxSetFlags_v2(device, blocking) }.result().map_err(none)?;
        let context = CudaContext::new(0).map_err(none)?;
        let (major, minor) = context.compute_capability().map_err(none)?;
        let name = context.name().map_err(none)?;
        let target = compiler.target(major * 10 + minor)?;
        Ok(Self { context, name, target, compiler, cache })
    }

    /// Compiles a program, unless that was done before.
    fn program(&self, source: &str) -> Result<Vec<u8>, Fault> {
        let options = self.target.option();
        let parts = KeyParts {
            source,
            options: &options,
            compiler: &self.compiler.version,
            // A cubin fits every card of its compute capability.
            device: "",
        };
        if let Some(program) = self.cache.get(&parts) {
            return Ok(program);
        }
        let program = self.compiler.compile(source, self.target)?;
        self.cache.put(&parts, &program);
        Ok(program)
    }
}

/// Every device that CUDA shows this process.
fn seen() -> Result<Vec<Seen>, DriverError> {
    let count = result::device::get_count()?;
    (0..count)
        .map(|ordinal| {
            let device = result::device::get(ordinal)?;
            Ok(Seen {
                name: result::device::get_name(device)?,
                ids: vec![uuid(result::device::get_uuid(device)?)],
            })
        })
        .collect()
}

/// A UUID as NVIDIA's tools write it.
fn uuid(uuid: sys::CUuuid) -> String {
    let mut text = "GPU".to_owned();
    for (place, byte) in uuid.bytes.into_iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        text += &format!("{:02x}", byte.cast_unsigned());
    }
    text
}

/// The device failed under the job.
fn lost(error: DriverError) -> Fault {
    Fault::lost(format!("CUDA failed: {error}"))
}

impl Driver for Cuda {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn load(&mut self, plan: &Plan) -> Result<Box<dyn Loaded>, Fault> {
        let program = self.program(&plan.source(Language::Cuda))?;
        Ok(Box::new(OnDevice::new(&self.context, program, plan).map_err(lost)?))
    }
}

/// A plan on the device.
struct OnDevice {
    seeds_per_item: u32,
    stream: Arc<CudaStream>,
    filter: CudaFunction,
    examine: CudaFunction,
    tables: CudaSlice<u32>,
    totals: CudaSlice<u32>,
    queue: CudaSlice<u32>,
    found: CudaSlice<u32>,
    sums: CudaSlice<u64>,
    list: CudaSlice<u64>,
}

impl OnDevice {
    fn new(context: &Arc<CudaContext>, program: Vec<u8>, plan: &Plan) -> Result<Self, DriverError> {
        let module = context.load_module(Ptx::from_binary(program))?;
        let stream = context.default_stream();
        Ok(Self {
            seeds_per_item: plan.seeds_per_item(),
            filter: module.load_function("filter")?,
            examine: module.load_function("examine")?,
            tables: stream.clone_htod(plan.tables())?,
            totals: stream.alloc_zeros(2)?,
            queue: stream.alloc_zeros(QUEUE_LENGTH)?,
            found: stream.alloc_zeros(FOUND_LENGTH)?,
            sums: stream.alloc_zeros(EXAMINERS * 4)?,
            list: stream.alloc_zeros(if plan.is_listed() { MAX_CANDIDATES } else { 1 })?,
            stream,
        })
    }

    #[expect(unsafe_code, reason = "a kernel is not checked by the compiler that starts it")]
    fn start(&mut self, launch: &Launch<'_>) -> Result<(), DriverError> {
        let groups = launch.count.div_ceil(self.seeds_per_item).div_ceil(GROUP as u32);
        let config = |groups| LaunchConfig {
            grid_dim: (groups, 1, 1),
            block_dim: (GROUP as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        self.stream.memset_zeros(&mut self.totals)?;
        if !launch.list.is_empty() {
            let mut list = self.list.slice_mut(..launch.list.len());
            self.stream.memcpy_htod(launch.list, &mut list)?;
        }
        let mut filter = self.stream.launch_builder(&self.filter);
        filter.arg(&launch.first).arg(&launch.count).arg(&self.list).arg(&self.tables);
        filter.arg(&mut self.totals).arg(&mut self.queue);
        // SAFETY: the arguments are those of sieve.c, whose items stay within `count` and within
        // the lengths that it was compiled with.
        unsafe { filter.launch(config(groups)) }?;
        let mut examine = self.stream.launch_builder(&self.examine);
        examine.arg(&launch.first).arg(&self.list).arg(&self.tables);
        examine.arg(&launch.probe.0).arg(&launch.probe.1).arg(&mut self.totals);
        examine.arg(&self.queue).arg(&mut self.found).arg(&mut self.sums);
        // SAFETY: as above; EXAMINERS items write four words of `sums` each.
        unsafe { examine.launch(config((EXAMINERS / GROUP) as u32)) }?;
        Ok(())
    }

    fn read(&self) -> Result<Report, DriverError> {
        let mut totals = [0; 2];
        self.stream.memcpy_dtoh(&self.totals, &mut totals)?;
        self.stream.synchronize()?;
        let [queued, found] = totals;
        let mut report = Report { queued, found, ..Report::default() };
        if queued as usize > QUEUE_LENGTH || found as usize > FOUND_LENGTH {
            return Ok(report);
        }
        if found > 0 {
            report.places = self.stream.clone_dtoh(&self.found.slice(..found as usize))?;
        }
        if queued > 0 {
            report.sums = self.stream.clone_dtoh(&self.sums)?;
        }
        self.stream.synchronize()?;
        Ok(report)
    }
}

impl Loaded for OnDevice {
    fn launch(&mut self, launch: Launch<'_>) -> Result<Report, Fault> {
        self.start(&launch).and_then(|()| self.read()).map_err(lost)
    }

    fn overwrite_tables(&mut self, tables: &[u32]) -> Result<(), Fault> {
        self.stream.memcpy_htod(tables, &mut self.tables).map_err(lost)
    }
}
