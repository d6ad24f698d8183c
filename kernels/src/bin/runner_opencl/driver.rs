//! OpenCL through `ocl`, which links libOpenCL.

use std::fs::File;

use kernels::device::{
    self, Cache, Driver, EXAMINERS, FOUND_LENGTH, Fault, GROUP, KeyParts, Language, Launch, Loaded,
    Plan, QUEUE_LENGTH, Report, Seen,
};
use ocl::{
    Buffer, Context, Device, DeviceType, Kernel, MemFlags, Platform, Program, Queue,
    builders::KernelBuilder,
    core::PlatformId,
    enums::{DeviceInfo, PlatformInfo, ProgramInfo, ProgramInfoResult},
};

/// What the compiler is told: the version that every driver has.
const OPTIONS: &str = "-cl-std=CL1.2";
/// What AMD's compute drivers work through.
const COMPUTE: &str = "/dev/kfd";

/// The first GPU that OpenCL knows, or the first device of any kind.
pub(crate) struct OpenCl {
    context: Context,
    device: Device,
    name: String,
    /// The driver with its version: it has the compiler in it.
    compiler: String,
    cache: Cache,
}

impl OpenCl {
    /// Finds the device. Where this process was given one, it must be that one and the only GPU.
    ///
    /// # Errors
    /// [`Fault::missing`] when there is none, or another one; [`Fault::lost`] when the given one is
    /// gone.
    pub(crate) fn open(cache: Cache) -> Result<Self, Fault> {
        let missing = |error: &dyn std::fmt::Display| {
            let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            Fault::missing(format!(
                "no OpenCL device can be had on this node: {why}; install the card's OpenCL driver"
            ))
        };
        let platforms = ocl::core::get_platform_ids().map_err(|error| missing(&error))?;
        let find = |kind: DeviceType| {
            platforms.iter().find_map(|&id| {
                let platform = Platform::new(id);
                let devices = Device::list(platform, Some(kind)).ok()?;
                devices.first().map(|&device| (platform, device))
            })
        };
        let (platform, device) = match device::given() {
            Some(given) => bound(&given, &platforms)?,
            None => find(DeviceType::GPU)
                .or_else(|| find(DeviceType::ALL))
                .ok_or_else(|| missing(&"its platforms have no device"))?,
        };
        let context = Context::builder().platform(platform).devices(device).build();
        let tell = |info| device.info(info).map(|value| value.to_string()).unwrap_or_default();
        let version = platform.info(PlatformInfo::Version).map(|value| value.to_string());
        Ok(Self {
            context: context.map_err(|error| missing(&error))?,
            device,
            name: tell(DeviceInfo::Name).trim().to_owned(),
            compiler: format!(
                "{} {}",
                version.unwrap_or_default(),
                tell(DeviceInfo::DriverVersion)
            ),
            cache,
        })
    }

    /// Compiles a program, unless that was done before.
    fn program(&self, source: &str) -> Result<Program, Fault> {
        let parts =
            KeyParts { source, options: OPTIONS, compiler: &self.compiler, device: &self.name };
        if let Some(binary) = self.cache.get(&parts)
            && let Ok(program) = self.load_binary(&binary)
        {
            return Ok(program);
        }
        let built = Program::builder()
            .devices(self.device)
            .cmplr_opt(OPTIONS)
            .src(source)
            .build(&self.context)
            .map_err(|error| {
                let why = error.to_string();
                Fault::uncompiled(format!("'{}' does not compile the sieve: {why}", self.name))
            })?;
        if let Ok(ProgramInfoResult::Binaries(binaries)) = built.info(ProgramInfo::Binaries)
            && let Some(binary) = binaries.first().filter(|binary| !binary.is_empty())
        {
            self.cache.put(&parts, binary);
        }
        Ok(built)
    }

    fn load_binary(&self, binary: &[u8]) -> ocl::Result<Program> {
        let options = std::ffi::CString::new(OPTIONS)?;
        Program::with_binary(&self.context, &[self.device], &[binary], &options)
    }
}

/// The given GPU among all that the platforms show.
fn bound(given: &str, platforms: &[PlatformId]) -> Result<(Platform, Device), Fault> {
    let all: Vec<(Platform, Device)> = platforms
        .iter()
        .flat_map(|&id| {
            let platform = Platform::new(id);
            let devices = Device::list(platform, Some(DeviceType::GPU)).unwrap_or_default();
            devices.into_iter().map(move |device| (platform, device))
        })
        .collect();
    if all.is_empty()
        && let Err(error) = File::options().read(true).write(true).open(COMPUTE)
    {
        return Err(Fault::missing(format!(
            "no OpenCL platform shows the device {given}, and {COMPUTE} can't be opened: {error}; \
             the worker's user must be in the groups render and video"
        )));
    }
    let seen: Vec<Seen> = all.iter().map(|(_, device)| seen(*device)).collect();
    device::find(given, &seen).map(|place| all[place])
}

fn seen(device: Device) -> Seen {
    let name = device.info(DeviceInfo::Name).map(|name| name.to_string()).unwrap_or_default();
    Seen { name: name.trim().to_owned(), ids: address(device).into_iter().collect() }
}

/// A device's PCI address, by whichever extension its driver has for it.
fn address(device: Device) -> Option<String> {
    let ask = |number| ocl::core::get_device_info_raw(device, number).ok();
    let word = |bytes: &[u8], place: usize| {
        let bytes = bytes.get(4 * place..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    // cl_khr_pci_bus_info: domain, bus, device, function.
    if let Some(bytes) = ask(0x410f) {
        let (domain, bus) = (word(&bytes, 0)?, word(&bytes, 1)?);
        let (device, function) = (word(&bytes, 2)?, word(&bytes, 3)?);
        return Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"));
    }
    // cl_amd_device_attribute_query: a word that says PCIe, 17 bytes, bus, device, function.
    if let Some(bytes) = ask(0x4037)
        && let ([1, 0, 0, 0, ..], &[.., bus, device, function]) = (&bytes[..], &bytes[..])
        && bytes.len() == 24
    {
        return Some(format!("{bus:02x}:{device:02x}.{function}"));
    }
    // cl_nv_device_attribute_query: the bus, and device and function in one word.
    let (bus, slot) = (word(&ask(0x4008)?, 0)?, word(&ask(0x4009)?, 0)?);
    Some(format!("{bus:02x}:{:02x}.{}", slot >> 3, slot & 7))
}

/// The device failed under the job.
fn lost(error: &ocl::Error) -> Fault {
    let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Fault::lost(format!("OpenCL failed: {why}"))
}

impl Driver for OpenCl {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn load(&mut self, plan: &Plan) -> Result<Box<dyn Loaded>, Fault> {
        let program = self.program(&plan.source(Language::OpenCl))?;
        let queue = Queue::new(&self.context, self.device, None).map_err(|error| lost(&error))?;
        let buffers = Buffers::new(&queue, plan).map_err(|error| lost(&error))?;
        Ok(Box::new(buffers.kernels(&program, &queue, plan).map_err(|error| lost(&error))?))
    }
}

/// What lies in the device's memory.
struct Buffers {
    tables: Buffer<u32>,
    totals: Buffer<u32>,
    queue: Buffer<u32>,
    found: Buffer<u32>,
    sums: Buffer<u64>,
    list: Buffer<u64>,
}

fn buffer<T: ocl::OclPrm>(queue: &Queue, length: usize) -> ocl::Result<Buffer<T>> {
    Buffer::builder().queue(queue.clone()).flags(MemFlags::READ_WRITE).len(length).build()
}

impl Buffers {
    fn new(queue: &Queue, plan: &Plan) -> ocl::Result<Self> {
        let tables = buffer(queue, plan.tables().len())?;
        tables.write(plan.tables()).enq()?;
        let list = if plan.is_listed() { shared::job::MAX_CANDIDATES } else { 1 };
        Ok(Self {
            tables,
            totals: buffer(queue, 2)?,
            queue: buffer(queue, QUEUE_LENGTH)?,
            found: buffer(queue, FOUND_LENGTH)?,
            sums: buffer(queue, EXAMINERS * 4)?,
            list: buffer(queue, list)?,
        })
    }

    fn kernels(self, program: &Program, queue: &Queue, plan: &Plan) -> ocl::Result<OnDevice> {
        let kernel = |name: &str, arguments: &dyn Fn(&mut KernelBuilder<'_>)| {
            let mut builder = Kernel::builder();
            builder.program(program).name(name).queue(queue.clone());
            arguments(&mut builder);
            builder.build()
        };
        let filter = kernel("filter", &|builder| {
            builder.arg(0_u64).arg(0_u32).arg(self.list.clone()).arg(self.tables.clone());
            builder.arg(self.totals.clone()).arg(self.queue.clone());
        })?;
        let examine = kernel("examine", &|builder| {
            builder.arg(0_u64).arg(self.list.clone()).arg(self.tables.clone());
            builder.arg(0_u32).arg(0_u32).arg(self.totals.clone()).arg(self.queue.clone());
            builder.arg(self.found.clone()).arg(self.sums.clone());
        })?;
        Ok(OnDevice { seeds_per_item: plan.seeds_per_item(), buffers: self, filter, examine })
    }
}

/// A plan on the device.
struct OnDevice {
    seeds_per_item: u32,
    buffers: Buffers,
    filter: Kernel,
    examine: Kernel,
}

impl OnDevice {
    #[expect(unsafe_code, reason = "a kernel is not checked by the compiler that starts it")]
    fn start(&self, launch: &Launch<'_>) -> ocl::Result<()> {
        let items =
            (launch.count as usize).div_ceil(self.seeds_per_item as usize).next_multiple_of(GROUP);
        self.buffers.totals.write(&[0_u32, 0][..]).enq()?;
        if !launch.list.is_empty() {
            self.buffers.list.write(launch.list).enq()?;
        }
        self.filter.set_arg(0, launch.first)?;
        self.filter.set_arg(1, launch.count)?;
        self.examine.set_arg(0, launch.first)?;
        self.examine.set_arg(3, launch.probe.0)?;
        self.examine.set_arg(4, launch.probe.1)?;
        // SAFETY: the arguments are those of sieve.c, whose items stay within `count`, within the
        // lengths that it was compiled with and, for EXAMINERS items, within `sums`.
        unsafe {
            self.filter.cmd().global_work_size(items).local_work_size(GROUP).enq()?;
            self.examine.cmd().global_work_size(EXAMINERS).local_work_size(GROUP).enq()?;
        }
        Ok(())
    }

    fn read(&self) -> ocl::Result<Report> {
        let mut totals = [0; 2];
        self.buffers.totals.read(&mut totals[..]).enq()?;
        let [queued, found] = totals;
        let mut report = Report { queued, found, ..Report::default() };
        if queued as usize > QUEUE_LENGTH || found as usize > FOUND_LENGTH {
            return Ok(report);
        }
        if found > 0 {
            report.places = vec![0; found as usize];
            self.buffers.found.read(&mut report.places).enq()?;
        }
        if queued > 0 {
            report.sums = vec![0; EXAMINERS * 4];
            self.buffers.sums.read(&mut report.sums).enq()?;
        }
        Ok(report)
    }
}

impl Loaded for OnDevice {
    fn launch(&mut self, launch: Launch<'_>) -> Result<Report, Fault> {
        self.start(&launch).and_then(|()| self.read()).map_err(|error| lost(&error))
    }

    fn overwrite_tables(&mut self, tables: &[u32]) -> Result<(), Fault> {
        self.buffers.tables.write(tables).enq().map_err(|error| lost(&error))
    }
}
