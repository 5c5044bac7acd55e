package sqlitedb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Lock is the exclusive use of a folder by one process, until it is released or
// the process ends.
type Lock struct{ f *os.File }

// LockFile is the name of the file in the folder that is locked.
const LockFile = "lock"

// LockedError is returned if another process uses the folder.
type LockedError struct {
	Path string
	PID  int // 0 if unknown
}

// Error implements error.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("the folder %s is in use by another process", e.Path)
	}
	return fmt.Sprintf("the folder %s is in use by process %d", e.Path, e.PID)
}

// LockDir creates the folder if needed, readable by its owner only, and locks
// it. It returns a *LockedError if another process has it locked.
func LockDir(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		locked := &LockedError{Path: dir}
		text := make([]byte, 32)
		n, _ := f.ReadAt(text, 0) // only for the message
		locked.PID, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
		return nil, locked
	}
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(pid, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return &Lock{f}, nil
}

// Release releases the lock.
func (l *Lock) Release() error { return l.f.Close() }
