//go:build !linux

package demo

import "syscall"

// processAttributes returns the default attributes.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
