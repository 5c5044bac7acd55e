package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNoJava says that a server in Java cannot be started on this machine. Tests
// that need one are skipped.
var ErrNoJava = errors.New("no Java server on this machine: run `make setup` with a JDK 17 or newer and Maven installed")

// jars returns the folder with the jars of a server, which `make setup` downloads.
func jars(name string) (java, dir string, err error) {
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", ErrNoJava
	}
	if dir, err = cache("jars", name); err != nil {
		return "", "", err
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*.jar")); err != nil || len(found) == 0 {
		return "", "", fmt.Errorf("%w (%s has no jars)", ErrNoJava, filepath.Join(".cache", "jars", name))
	}
	return java, dir, nil
}

// cache returns a folder of the repository's cache.
func cache(path ...string) (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return filepath.Join(append([]string{at, ".cache"}, path...)...), nil
		}
		if at == filepath.Dir(at) {
			return "", errors.New("the tests do not run within the repository")
		}
		at = filepath.Dir(at)
	}
}
