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

// Lock is the right of one process to use a folder. It ends with the process,
// however that ends.
type Lock struct{ f *os.File }

// LockedError says that another process uses the folder.
type LockedError struct {
	Path string
	PID  int // 0 if it is not known
}

// Error names the process.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("the folder %s is in use by another process", e.Path)
	}
	return fmt.Sprintf("the folder %s is in use by process %d", e.Path, e.PID)
}

// LockDir creates the folder if it does not exist, readable by its owner
// alone, and takes it for this process, or fails with a *LockedError.
func LockDir(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		held := &LockedError{Path: dir}
		text := make([]byte, 32)
		n, _ := f.ReadAt(text, 0) // what is there is only for the message
		held.PID, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
		return nil, held
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

// Release gives the folder back.
func (l *Lock) Release() error { return l.f.Close() }
