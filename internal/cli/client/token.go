package client

import (
	"errors"
	"io/fs"
	"path/filepath"

	"valence/atom/admin"
	"valence/internal/clierror"
	"valence/internal/datafolder"
)

// tokenSource is the token of a command: in a variable, a file or a data folder.
type tokenSource struct {
	name    string // of the token, in errors
	value   string // of the environment variable that holds the token; ""
	file    string // given with --token-file; ""
	data    string // data folder with the token otherwise
	missing string // the hint if there is no token
	invalid string // the hint if the file cannot be read
}

// read returns the token.
func (s tokenSource) read() (string, error) {
	if s.value != "" && s.file == "" {
		return s.value, nil
	}
	path := s.file
	if path == "" {
		path = filepath.Join(s.data, admin.TokenFile)
	}
	token, err := admin.ReadToken(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", clierror.Failed(s.missing, "there is no %s at %s", s.name, path)
	case errors.Is(err, admin.ErrTokenReadable) && s.file != "":
		return "", clierror.Failed("chmod 600 "+path, "other users can read the token in %s", path)
	case errors.Is(err, fs.ErrPermission) && s.file == "":
		return "", datafolder.NotOwner(s.data)
	case err != nil:
		return "", clierror.Failed(s.invalid, "%v", err)
	}
	return token, nil
}
