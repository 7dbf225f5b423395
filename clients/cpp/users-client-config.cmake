# The target `users::client`, and the libraries that it needs.
include(CMakeFindDependencyMacro)
find_dependency(PkgConfig)
pkg_check_modules(CAPNP REQUIRED IMPORTED_TARGET capnp-rpc capnp-json kj-tls)
include(${CMAKE_CURRENT_LIST_DIR}/users-client-targets.cmake)
