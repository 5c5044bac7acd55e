package crash

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// faultyDisk is a small file system for the data folder of a campaign, whose
// writes can be made to fail. It needs root and strace.
type faultyDisk struct {
	t       *testing.T
	dir     string
	ballast string
	eio     int // system calls that failed with EIO
	full    int // rounds in which the disk was full
}

// mountDisk mounts a file system, ext4 or tmpfs, of 512 MiB.
func mountDisk(t *testing.T, kind string) *faultyDisk {
	t.Helper()
	d := &faultyDisk{t: t, dir: t.TempDir()}
	d.ballast = filepath.Join(d.dir, "filled-by-test")
	mount := []string{"mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", d.dir}
	if kind == "ext4" {
		image := filepath.Join(t.TempDir(), "image")
		f, err := os.Create(image)
		if err == nil {
			err = f.Truncate(512 << 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		d.must("mkfs.ext4", "-q", image)
		mount = []string{"mount", "-o", "loop", image, d.dir}
	}
	d.must(mount[0], mount[1:]...)
	t.Cleanup(func() { d.must("umount", d.dir) })
	return d
}

func (d *faultyDisk) must(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Errorf("%s %v: %v %s", name, args, err, out)
	}
}

// disturb makes the disk fail for a while, in one of three rounds, and returns
// when that began; zero: it did not. The caller kills the program and then calls
// repair.
func (d *faultyDisk) disturb(random *rand.Rand, pid int) (since time.Time) {
	if d == nil {
		return since
	}
	switch random.IntN(6) {
	case 0:
		since = time.Now()
		d.eio += d.fail(random, pid)
	case 1:
		d.full++
		since = time.Now()
		d.fill()
		pause(time.Duration(200+random.IntN(1500)) * time.Millisecond)
	}
	return since
}

// fail makes some system calls of the program fail with EIO, by strace: some of
// the next ones that write to a file, or that flush one. It returns their number.
func (d *faultyDisk) fail(random *rand.Rand, pid int) int {
	calls := [...]string{"fsync,fdatasync", "pwrite64", "fsync,fdatasync,pwrite64,ftruncate"}[random.IntN(3)]
	first, n := 1+random.IntN(3), random.IntN(3)
	log := filepath.Join(d.t.TempDir(), "strace")
	cmd := exec.Command("strace", "-f", "-qq", "-o", log, "-e", "trace="+calls, "-e", "signal=none",
		"-e", "inject="+calls+":error=EIO:when="+strconv.Itoa(first)+".."+strconv.Itoa(first+n), "-p", strconv.Itoa(pid))
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	pause(time.Duration(300+random.IntN(700)) * time.Millisecond)
	_ = cmd.Process.Signal(syscall.SIGINT) // it detaches, unless the program has exited
	_ = cmd.Wait()
	text, err := os.ReadFile(log)
	if err != nil {
		d.t.Error(err)
	}
	return strings.Count(string(text), "(INJECTED)")
}

// fill leaves no space on the disk.
func (d *faultyDisk) fill() {
	f, err := os.Create(d.ballast)
	if err != nil {
		return // it is full
	}
	defer f.Close()
	for size, at := int64(64<<20), int64(0); size >= 4096; {
		if syscall.Fallocate(int(f.Fd()), 0, at, size) != nil {
			size /= 2
			continue
		}
		at += size
	}
}

// repair makes room again.
func (d *faultyDisk) repair() {
	if d == nil {
		return
	}
	if err := os.Remove(d.ballast); err != nil && !os.IsNotExist(err) {
		d.t.Error(err)
	}
}
