package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const vsftpd = "/usr/sbin/vsftpd"

// The user of a VSFTPD. Other users need accounts of the machine.
const (
	FTPUser     = "anonymous"
	FTPPassword = "not-in-any-message"
)

// VSFTPD is the FTP server vsftpd. It knows neither MLSD nor MLST.
type VSFTPD struct {
	Files string // the folder for files, in which sessions start
	dir   string
	inetd
}

// NewVSFTPD starts a server. With a certificate and a key it requires TLS,
// implicit or after a command. Close stops it.
func NewVSFTPD(cert, key string, implicit bool) (*VSFTPD, error) {
	if _, err := os.Stat(vsftpd); err != nil {
		return nil, fmt.Errorf("vsftpd is not installed: run `make setup`: %w", err)
	}
	dir, err := os.MkdirTemp("", "valence-vsftpd")
	if err != nil {
		return nil, err
	}
	s := &VSFTPD{Files: filepath.Join(dir, "files"), dir: dir}
	config := []string{"listen=NO", "background=NO", "seccomp_sandbox=NO", "run_as_launching_user=YES", "xferlog_enable=NO",
		"local_enable=NO", "anonymous_enable=YES", "write_enable=YES", "anon_upload_enable=YES", "anon_mkdir_write_enable=YES", "anon_other_write_enable=YES",
		"anon_world_readable_only=NO", "anon_umask=022", "anon_root=" + s.Files, "secure_email_list_enable=YES", "email_password_file=" + filepath.Join(dir, "passwords")}
	if cert != "" {
		config = append(config, "ssl_enable=YES", "allow_anon_ssl=YES", "force_anon_logins_ssl=YES", "force_anon_data_ssl=YES", "rsa_cert_file="+cert, "rsa_private_key_file="+key)
	}
	if implicit {
		config = append(config, "implicit_ssl=YES")
	}
	file := filepath.Join(dir, "vsftpd.conf")
	err = errors.Join(os.Mkdir(s.Files, 0o755), os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "passwords"), []byte(FTPPassword+"\n"), 0o600))
	if err == nil {
		err = s.listen(filepath.Join(dir, "log"), vsftpd, file)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// Close stops the server and removes its files.
func (s *VSFTPD) Close() error { return errors.Join(s.inetd.close(), os.RemoveAll(s.dir)) }
