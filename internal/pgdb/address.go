package pgdb

import (
	"fmt"
	"net/url"
	"strings"
)

// IsAddress reports whether a value is the URL of a database, and not a folder.
func IsAddress(value string) bool {
	return strings.HasPrefix(value, "postgres://") || strings.HasPrefix(value, "postgresql://")
}

// CheckAddress returns an *Error unless the value of an option, such as --store, is
// the URL of a database without a password: other users can read it in the list
// of processes.
func CheckAddress(option, value string) error {
	example := option + " postgres://user@host:5432/database"
	if !IsAddress(value) {
		return &Error{Text: option + " is not the address of a PostgreSQL database", Hint: example}
	}
	u, err := url.Parse(value)
	if err != nil { // its message may contain the password
		return &Error{Text: option + " is not a valid URL", Hint: example}
	}
	_, hidden := u.User.Password()
	if query := u.Query(); hidden || query.Has("password") || query.Has("sslpassword") {
		return &Error{Text: fmt.Sprintf("%s contains a password, which other users can read in the list of processes", option),
			Hint: "remove it from the URL, and name a file with it in " + passwordFile + ", or add a line to ~/.pgpass"}
	}
	return nil
}

// CheckEncrypted returns an *Error if a connection leaves the machine without TLS.
// flag is the one that allows it.
func CheckEncrypted(conn *Conn, option, flag string) error {
	if !Unencrypted(conn) {
		return nil
	}
	return &Error{Text: "the connection to the database is not encrypted: others on that network can read messages and keys",
		Hint: fmt.Sprintf("add ?sslmode=verify-full to %s, or %s", option, flag)}
}
