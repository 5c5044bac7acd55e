package datafolder

import (
	"encoding/json"
	"os"
	"path/filepath"

	"valence/internal/atomicfile"
	"valence/internal/clierror"
)

// Files of a data folder that hold the address of the program running on it.
const (
	AtomAddressFile  = "running.json"
	CloudAddressFile = "cloud.json"
)

// AtomAddress is the content of AtomAddressFile.
type AtomAddress struct {
	PID    int    `json:"pid"`
	Listen string `json:"listen"` // URL of the web services
	Admin  string `json:"admin"`  // URL of the admin API
}

// CloudAddress is the content of CloudAddressFile.
type CloudAddress struct {
	PID int    `json:"pid"`
	URL string `json:"url"`
}

// ReadAtomAddress reads the address of the atom that runs on a folder. ok is
// false if no atom has written one.
func ReadAtomAddress(folder string) (a AtomAddress, ok bool) {
	ok = readAddress(filepath.Join(folder, AtomAddressFile), &a)
	return a, ok
}

// ReadCloudAddress reads the address of the control plane that runs on a
// folder. ok is false if no control plane has written one.
func ReadCloudAddress(folder string) (a CloudAddress, ok bool) {
	ok = readAddress(filepath.Join(folder, CloudAddressFile), &a)
	return a, ok
}

// Write stores the address in a folder.
func (a AtomAddress) Write(folder string) error {
	return writeAddress(filepath.Join(folder, AtomAddressFile), a)
}

// Write stores the address in a folder.
func (a CloudAddress) Write(folder string) error {
	return writeAddress(filepath.Join(folder, CloudAddressFile), a)
}

// RemoveAtomAddress removes the address file if this process wrote it.
func RemoveAtomAddress(folder string) error {
	if a, ok := ReadAtomAddress(folder); !ok || a.PID != os.Getpid() {
		return nil
	}
	return os.Remove(filepath.Join(folder, AtomAddressFile))
}

// RemoveCloudAddress removes the address file if this process wrote it.
func RemoveCloudAddress(folder string) error {
	if a, ok := ReadCloudAddress(folder); !ok || a.PID != os.Getpid() {
		return nil
	}
	return os.Remove(filepath.Join(folder, CloudAddressFile))
}

func readAddress(path string, into any) bool {
	text, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(text, into) == nil
}

func writeAddress(path string, address any) error {
	text, err := json.Marshal(address)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(text, '\n'), 0o644); err != nil {
		return clierror.Failed("--data DIR with a writable folder", "%v", err)
	}
	return nil
}
