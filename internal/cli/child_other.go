//go:build !linux

package cli

import "syscall"

// childAttributes keeps nothing apart where the system has no way to.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
