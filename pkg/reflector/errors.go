package reflector

import "errors"

// What New can fail with, for callers that tell the user how to mend it.
var (
	// ErrNoListen says that Options.Listen is empty.
	ErrNoListen = errors.New("no address to listen on")
	// ErrInUse says that another socket has the port.
	ErrInUse = errors.New("port is in use")
	// ErrPermission says that the port needs CAP_NET_BIND_SERVICE, or the
	// device CAP_NET_RAW.
	ErrPermission = errors.New("not permitted")
	// ErrNoAddress says that the host does not have the address, or not its family.
	ErrNoAddress = errors.New("address is not on this host")
	// ErrRunning says that Run was called before, or after Close.
	ErrRunning = errors.New("reflector runs already or has ended")
)
