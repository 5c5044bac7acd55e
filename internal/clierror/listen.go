package clierror

import (
	"errors"
	"net"
	"strconv"
	"syscall"
)

// Listen explains why the address of a flag such as --listen cannot be opened.
func Listen(flag, address string, err error) error {
	if wrong := Address(flag, address); wrong != nil {
		return wrong
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return Failed(flag+" HOST:PORT with another port, or stop the program that uses it", "the address %s is in use", address)
	case errors.Is(err, syscall.EACCES):
		return Failed(flag+" HOST:PORT with a port above 1023", "this user may not listen on %s", address)
	}
	return Failed(flag+" HOST:PORT", "%v", err)
}

// Address returns an error if the address of a flag is not HOST:PORT.
func Address(flag, address string) error {
	_, port, err := net.SplitHostPort(address)
	switch {
	case isPort(address):
		return Usage(flag+" 127.0.0.1:"+address, "%s %s is a port without a host", flag, address)
	case err != nil:
		return Usage(flag+" 127.0.0.1:9090", "%s %s is not an address of the form HOST:PORT", flag, address)
	case port == "" || !isPort(port):
		return Usage(flag+" 127.0.0.1:9090", "%s %s has no port from 0 to 65535", flag, address)
	}
	return nil
}

// isPort reports whether an address is only a port.
func isPort(address string) bool {
	n, err := strconv.Atoi(address)
	return err == nil && n >= 0 && n < 1<<16
}
