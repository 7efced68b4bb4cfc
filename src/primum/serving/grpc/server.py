"""The gRPC server, beside the HTTP one."""

from __future__ import annotations

import grpc

from primum.errors import InputError
from primum.serving.dataplane import DataPlane
from primum.serving.grpc.service import Service, handlers
from primum.serving.limits import Limits, Room
from primum.serving.observability.tracing import Tracing
from primum.serving.security.tls import Tls

_GRACE_S = 30.0
_IDLE_S = 600
"""After so long without a call a connection is ended; clients open another by themselves."""


class GrpcServer:
    """Serves a data plane on an address of its own; started and stopped in its event loop."""

    def __init__(
        self,
        plane: DataPlane,
        address: str,
        limits: Limits,
        room: Room,
        tls: Tls | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing, self._tls = tracing, tls
        self._plane, self.address, self._limits, self._room = plane, address, limits, room
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Open the port. Raises InputError where it is taken."""
        options = [
            ("grpc.max_receive_message_length", self._room.most_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", int(self._limits.arrival_s * 1000)),
            ("grpc.max_connection_idle_ms", _IDLE_S * 1000),
        ]
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=self._limits.most)
        service = handlers(Service(self._plane), self._limits, self._room, self._tracing)
        server.add_generic_rpc_handlers((service,))
        try:
            credentials = self._credentials()
            if credentials is None:
                server.add_insecure_port(self.address)
            else:
                server.add_secure_port(self.address, credentials)
        except RuntimeError as error:
            raise InputError(f"gRPC cannot bind to {self.address}: is the port taken?") from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Take no new calls, let those that run end."""
        if self._server is not None:
            await self._server.stop(_GRACE_S)

    def _credentials(self) -> grpc.ServerCredentials | None:
        tls = self._tls
        if tls is None:
            return None
        asks = tls.pems.client_ca is not None
        return grpc.dynamic_ssl_server_credentials(_newest(tls), lambda: _newest(tls), asks)


def _newest(tls: Tls) -> grpc.ServerCertificateConfiguration:
    """Asked for at each handshake: the files may have been read anew."""
    certificate, key, client_ca = tls.pems
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)
