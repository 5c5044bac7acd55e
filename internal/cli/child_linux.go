package cli

import "syscall"

// childAttributes keeps a signal meant for the demo from its child, which the
// demo stops itself, and ends the child when the demo is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
