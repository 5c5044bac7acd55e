package demo

import "syscall"

// processAttributes returns attributes with which a Ctrl-C reaches only the
// demo, which then stops its programs, and a killed demo leaves none running.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
