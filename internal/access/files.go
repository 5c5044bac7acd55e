package access

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// CheckRoot returns an error if a folder is not allowed. The folder may be
// missing.
func (p *Policy) CheckRoot(dir string) error {
	_, err := p.path(dir, "roots", "the folder %s")
	return onlyRefusal(err)
}

// CheckSecretFile returns an error if a file with a secret, a certificate or a
// key is not allowed. The file may be missing.
func (p *Policy) CheckSecretFile(name string) error {
	_, err := p.path(name, "secret_files", "the file %s")
	return onlyRefusal(err)
}

// onlyRefusal returns nil for errors that the use of the path would report.
func onlyRefusal(err error) error {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return err
	}
	return nil
}

// Path returns the path without links of a file that a library opens by its
// name, such as a database, or an error if it is not allowed. The file may be
// missing.
func (p *Policy) Path(name string) (string, error) {
	return p.path(name, "roots", "the file %s")
}

func (p *Policy) path(name, key, what string) (string, error) {
	if p == nil {
		return name, nil
	}
	listed := p.list.Roots
	if key == "secret_files" {
		listed = p.list.SecretFiles
	}
	path, err := real(name)
	switch {
	case err != nil && p.deployed && !slices.ContainsFunc(listed, func(l string) bool { return below(filepath.Clean(l), filepath.Clean(name)) }):
		return "", refuse(key, name, what, name) // it must not learn which files exist
	case err != nil:
		return "", err
	case p.deployed && !within(path, listed):
		return "", refuse(key, name, what, name)
	}
	if p.data.contains(path) {
		return "", errData
	}
	if info, err := os.Stat(path); err == nil && p.data.holds(info) {
		return "", errData
	}
	return path, nil
}

// ReadFile returns the content of a file with a secret, a certificate or a key.
func (p *Policy) ReadFile(name string) ([]byte, error) {
	path, err := p.path(name, "secret_files", "the file %s")
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// OpenRoot opens a folder whose files a connection reads and writes.
func (p *Policy) OpenRoot(dir string) (*Root, error) {
	path, err := p.path(dir, "roots", "the folder %s")
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return &Root{root: root}, nil
	}
	return &Root{root: root, data: p.data}, nil
}
